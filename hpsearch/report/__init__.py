"""The report of a search: one page to look at, and its plots as images.

``document`` writes the page, ``images`` the plots; each section of the page has a file of its own.
"""
