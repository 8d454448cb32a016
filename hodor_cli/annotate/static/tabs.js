// One tab works on the project at a time: the one that was opened last. The one before it says so and can take it back.

import { by } from "./elements.js";
import { onEvent, send } from "./socket.js";

let taken = false;   // another tab has taken the project from this one
const hello = () => send({ do: "hello" });

onEvent("online", () => { if (!taken) hello(); });
onEvent("taken", () => {
  taken = true;
  by("taken-sheet").showModal();
});
by("take").addEventListener("click", () => {
  taken = false;
  by("taken-sheet").close();
  hello();
});
by("taken-sheet").addEventListener("cancel", (event) => event.preventDefault());
