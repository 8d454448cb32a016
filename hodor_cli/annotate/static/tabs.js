// One tab works on the project at a time. A tab that is refused asks again until the other one is closed; that is often
// itself, before it was loaded again.

import { by } from "./elements.js";
import { onEvent, send } from "./socket.js";

const PATIENCE = 4;   // refusals until the user is told
const PAUSE = 300;    // milliseconds until the next attempt
let refused = 0;      // how often the server has refused this tab since it connected
let moved = false;    // another tab has taken the project from this one
let turn = null;      // the timer of the next attempt

const hello = (take = false) => send({ do: "hello", take });

export function accepted() {
  by("busy-sheet").close();
  refused = 0;
  moved = false;
}

export function disconnected() {
  by("busy-sheet").close();
  refused = 0;
}

onEvent("online", () => { if (!moved) hello(); });
onEvent("busy", () => {
  refused += 1;
  if (refused === PATIENCE) tell("This project is open in another tab or window.");
  waitForTurn();
});
onEvent("taken", () => {
  moved = true;
  tell("This project is now open in another tab or window.");
});

function waitForTurn() {
  clearTimeout(turn);
  turn = setTimeout(() => {
    if (document.hidden) waitForTurn();
    else if (refused) hello();
  }, PAUSE);
}

function tell(text) {
  by("busy-text").textContent = text;
  by("busy-sheet").showModal();
}

by("take").addEventListener("click", () => { refused = 0; hello(true); });
by("busy-sheet").addEventListener("cancel", (event) => event.preventDefault());
