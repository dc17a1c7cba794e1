"""A module that needs another one that is not installed, for the tests of what is told then."""

import not_installed_anywhere  # type: ignore[import-not-found]  # noqa: F401 - it is not there
