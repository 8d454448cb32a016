// Moving through the frames: playing, and the frame number.

import { by } from "./elements.js";
import { state, on } from "./state.js";
import { go } from "./view.js";

const button = by("play"), number = by("frame");
const PLAY = "M5 3v14l12-7z", PAUSE = "M4 3h4v14H4zM12 3h4v14h-4z";
let playing = null;

// Play at the video's frame rate, skipping frames that arrive late. Going to a frame by other means stops it.
export async function play(wish = !playing) {
  if (!wish || playing || !state.video) { playing = null; show(); return; }
  const mine = {}, last = state.video.end - 1;
  playing = mine;
  show();
  if (state.frame >= last) await go(state.video.start);
  const began = performance.now(), first = state.frame;
  let at = first;
  while (playing === mine && state.frame === at && at < last) {
    const due = Math.min(last, first + Math.floor(((performance.now() - began) / 1000) * state.video.fps));
    if (due > at) {
      at = due;
      await go(at);
    }
    await new Promise(requestAnimationFrame);
  }
  if (playing === mine) playing = null;
  show();
}

function show() {
  button.setAttribute("aria-pressed", Boolean(playing));
  button.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
}

number.addEventListener("change", () => go(Number(number.value) || 0));
on("frame", () => { number.value = number.defaultValue = state.frame; });
on("video", () => {
  number.min = state.video.start;
  number.max = state.video.end - 1;
  by("of").textContent = `of ${state.video.end - 1}`;
});
