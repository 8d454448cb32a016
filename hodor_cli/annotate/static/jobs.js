// Tracking, adaptation and export: starting and stopping them, and their progress in the bar at the top.

import { by } from "./elements.js";
import { send } from "./socket.js";
import { isPicture, on, set, state } from "./state.js";
import { view } from "./view.js";

// The jobs' names in requests -> in words.
export const JOBS = { track: "tracking", adapt: "adapting", export: "exporting" };

const clock = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export function drawJob() {
  const { job } = state;
  by("job").hidden = !job;
  by("tracking").hidden = Boolean(job);
  document.body.classList.toggle("picture", isPicture());   // hides what is only for videos
  by("export-progress").hidden = job?.job !== "export";
  for (const button of document.querySelectorAll("#adapt, #export-kinds button")) button.disabled = Boolean(job);   // they would stop the job
  if (!job) return;
  for (const bar of [by("share"), by("export-share")]) {
    if (job.share === undefined) bar.removeAttribute("value");   // of unknown length
    else bar.value = job.share;
  }
  const rate = job.rate ? `${job.rate.toFixed(1)} frames/s, ` : "";
  const word = JOBS[job.job];
  by("rate").textContent = by("export-rate").textContent = job.left === undefined ? `${word}…` : `${word}: ${rate}${clock(job.left)} left`;
}

export const stop = () => send({ do: "stop" });

export function begin(message, job) {
  if (send(message)) set({ job: { job } });
}

export const track = (direction) => { if (view.shown >= 0) begin({ do: "track", frame: view.shown, direction }, "track"); };

export const adapt = () => { if (!state.job && !isPicture()) begin({ do: "adapt" }, "adapt"); };

by("stop").addEventListener("click", stop);
on("job video", drawJob);
