// How the page looks: opacity, outlines, the brush's size, and the theme.

import { by } from "./elements.js";
import { on, set, state, tell } from "./state.js";

by("opacity").addEventListener("input", () => set({ opacity: by("opacity").value / 100 }));
by("size").addEventListener("input", () => set({ brush: Number(by("size").value) }));
by("outline").addEventListener("change", () => set({ outline: by("outline").checked }));
on("brush", () => { by("size").value = state.brush; by("size-shown").textContent = `${state.brush} px`; });
on("outline", () => { by("outline").checked = state.outline; });

const light = matchMedia("(prefers-color-scheme: light)");

// The theme that was chosen here, or else that of the system.
function useTheme() {
  document.documentElement.dataset.theme = localStorage.theme ?? (light.matches ? "light" : "dark");
  tell("theme");
}
light.addEventListener("change", useTheme);
useTheme();

export function theme() {
  localStorage.theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  useTheme();
}
