"use strict";
// Draws every plot from the JSON beside it, in the colours of the theme, and again when that changes.
const LIGHT = { __ink__: "#1f2328", __grid__: "#e3e7eb", __paper__: "#ffffff" };
const DARK = { __ink__: "#e3e7eb", __grid__: "#333a42", __paper__: "#14171b" };
const PRINT_WIDTH = 680; // pixels of a page of A4
const CONFIG = { displayModeBar: false, responsive: true, showTips: false };
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drags = window.matchMedia("(pointer: fine)").matches; // a finger scrolls the page instead
const plots = [...document.querySelectorAll(".plot")];

function draw(plot, colors, width) {
  const text = plot.nextElementSibling.textContent.replace(/__(ink|grid|paper)__/g, (word) => colors[word]);
  const figure = JSON.parse(text);
  if (width) figure.layout.width = width;
  if (drags) figure.layout.dragmode = "zoom";
  return Plotly.react(plot, figure.data, figure.layout, CONFIG);
}

function drawAll(colors, width) {
  for (const plot of plots) draw(plot, colors, width);
}

const shown = () => drawAll(dark.matches ? DARK : LIGHT);
for (const plot of plots) plot.classList.add("plotly-graph-div");
shown();
dark.addEventListener("change", shown);
window.addEventListener("beforeprint", () => drawAll(LIGHT, PRINT_WIDTH));
window.addEventListener("afterprint", shown);

// Tables that are wider than the screen say so; those that are folded away once they are unfolded.
function tell(table) {
  const hidden = table.scrollWidth - table.clientWidth;
  table.classList.toggle("scrolls", hidden > 1);
  table.classList.toggle("ends", hidden > 1 && table.scrollLeft >= hidden - 1);
}
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => tell(entry.target)));
for (const table of document.querySelectorAll(".table")) {
  sizes.observe(table);
  table.addEventListener("scroll", () => tell(table), { passive: true });
}
document.documentElement.dataset.drawn = String(plots.length); // for who waits for it
