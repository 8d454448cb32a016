// How the page looks: opacity, outlines, brush size and theme.

import { by } from "./elements.js";
import { on, set, state, notify } from "./state.js";

by("opacity").addEventListener("input", () => set({ opacity: by("opacity").value / 100 }));
by("size").addEventListener("input", () => set({ brush: Number(by("size").value) }));
by("outline").addEventListener("change", () => set({ outline: by("outline").checked }));
on("brush", () => { by("size").value = state.brush; by("size-shown").textContent = `${state.brush} px`; });
on("outline", () => { by("outline").checked = state.outline; });

const light = matchMedia("(prefers-color-scheme: light)");

// Use the theme chosen on this page, or else the system's.
function useTheme() {
  document.documentElement.dataset.theme = localStorage.theme ?? (light.matches ? "light" : "dark");
  notify("theme");
}
light.addEventListener("change", useTheme);
useTheme();

export function theme() {
  localStorage.theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  useTheme();
}
