// Help over the picture: the three steps for an empty project, and a line that says what keys and clicks do at the moment.

import { by } from "./elements.js";
import { state, on } from "./state.js";

const hint = by("hint");
const AT_CROSSHAIR = {
  click: "Enter adds, Alt+Enter removes.",
  box: "Enter sets the first corner, then the second.",
  brush: "Enter starts and ends a stroke, Alt+Enter erases.",
  eraser: "Enter starts and ends a stroke.",
  polygon: "Enter adds a corner, Enter again closes the polygon, Alt+Enter removes the last corner.",
  hand: "The arrows move the picture.",
};
const IN_POLYGON = "Click the first corner or press Enter to close the polygon; Ctrl+Z removes the last corner, Esc cancels.";

on("crosshair tool corners", () => {
  const text = state.crosshair ? `${AT_CROSSHAIR[state.tool]} PgUp and PgDn change the frame, C hides the crosshair.` : state.corners.length ? IN_POLYGON : "";
  hint.hidden = !text;
  hint.textContent = text;
});

let welcomed = false;   // the user has closed the steps
const drawWelcome = () => { by("welcome").hidden = welcomed || !state.video || state.frames.size > 0 || state.crosshair || state.corners.length; };
by("welcomed").addEventListener("click", () => { welcomed = true; drawWelcome(); });
on("frames video shown crosshair corners", drawWelcome);
