// Runs before anything is painted, so that the chosen colours are there from the start.
"use strict";
(() => {
  let theme = "auto";
  try {
    theme = localStorage.getItem("midstream-theme") || "auto";
  } catch {
    // Storage may be forbidden; then the system's choice counts.
  }
  document.documentElement.dataset.theme = ["light", "dark"].includes(theme) ? theme : "auto";
})();
