// Help over the picture: the three steps for an empty project, and a line that says what to do next, or what keys do.

import { by } from "./elements.js";
import { isPicture, state, on } from "./state.js";

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
const TO_CORRECT = "Click what is missing; right-click or long-press what is too much. + New starts another object";
const TO_WATCH = "Play the video. Correct a frame where a mask drifts, and press Both ways. Export when all masks are good.";

let learning = false;   // the project was empty when it was opened, and its user has not come to the end of the steps
const followUp = () => {
  const found = [...state.frames.values()], tracked = found.some(({ given, seen }) => seen.size > given.size);
  return !learning || !found.length || state.job ? "" : tracked ? TO_WATCH : TO_CORRECT + (isPicture() ? "." : "; Track follows all of them.");
};
const drawHints = () => {
  learning &&= state.job?.job !== "export";
  const atCrosshair = state.crosshair && `${AT_CROSSHAIR[state.tool]} PgUp and PgDn change the frame, C hides the crosshair.`;
  hint.textContent = atCrosshair || (state.corners.length ? IN_POLYGON : followUp());
  hint.hidden = !hint.textContent;
  by("welcome").hidden = !learning || state.frames.size > 0 || !hint.hidden;
};
by("welcomed").addEventListener("click", () => { learning = false; drawHints(); });
on("video", () => { learning = !state.frames.size; });
on("video frames crosshair tool corners job", drawHints);
