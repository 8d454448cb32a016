// Only one tab works on the project: the one opened last. The previous tab says so and can take the project back.

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
