// What to do, over the picture: the three steps of an empty project, and a line that says what keys and clicks do now.

import { by } from "./elements.js";
import { state, on } from "./state.js";

const hint = by("hint");
const AT_CROSSHAIR = {
  click: "Enter adds, Alt+Enter removes.",
  box: "Enter sets the first corner, and then the second.",
  brush: "Enter begins and ends a stroke, Alt+Enter erases.",
  eraser: "Enter begins and ends a stroke.",
  polygon: "Enter sets a corner, Enter again closes the polygon, Alt+Enter takes a corner back.",
  hand: "The arrows move the picture.",
};
const IN_POLYGON = "A click on the first corner or Enter closes the polygon, Ctrl+Z takes a corner back, Esc cancels.";

on("crosshair tool corners", () => {
  const text = state.crosshair ? `${AT_CROSSHAIR[state.tool]} PgUp and PgDn change the frame, C ends.` : state.corners.length ? IN_POLYGON : "";
  hint.hidden = !text;
  hint.textContent = text;
});

let welcomed = false;   // the steps were closed
const drawWelcome = () => { by("welcome").hidden = welcomed || !state.video || state.frames.size > 0 || state.crosshair || state.corners.length; };
by("welcomed").addEventListener("click", () => { welcomed = true; drawWelcome(); });
on("frames video shown crosshair corners", drawWelcome);
