// The export dialog.

import { by, make } from "./elements.js";
import { begin, drawJob } from "./jobs.js";
import { state } from "./state.js";

// A row of the dialog: what is written, and the button that writes it. chosen: returns the kind to write.
function exportRow(name, what, chosen) {
  const write = () => begin({ do: "export", kind: chosen() }, "export");
  return make("li", { "data-kind": name }, what, make("button", { id: `write-${name}`, text: "Write", onclick: write }));
}

// The row for the formats of other tools: a choice of one of them, and its description.
function otherFormats(formats) {
  const options = formats.map(({ kind, title }) => make("option", { value: kind, text: title }));
  const choice = make("select", { id: "format" }, ...options);
  const about = make("small");
  const describe = () => { about.textContent = formats[choice.selectedIndex]?.about; };
  choice.addEventListener("change", describe);
  describe();
  return exportRow("other", make("span", {}, make("label", {}, "For another tool", choice), about), () => choice.value);
}

const ofOtherTool = (kind) => kind.startsWith("to-");

export function openExport() {
  by("export-folder").textContent = `Masks and report are always in ${state.video.folder}. Also write:`;
  const own = state.exports.filter(({ kind }) => !ofOtherTool(kind));
  by("export-kinds").replaceChildren(
    ...own.map(({ kind, title, about }) => exportRow(kind, make("span", { text: `${title}: ${about}` }), () => kind)),
    otherFormats(state.exports.filter(({ kind }) => ofOtherTool(kind))),
  );
  drawJob();
  if (!by("export-sheet").open) by("export-sheet").showModal();
}

// Add a download link for a finished export to the dialog.
export function exported({ kind, name }) {
  const row = document.querySelector(`#export-kinds [data-kind="${ofOtherTool(kind) ? "other" : kind}"]`);
  row?.querySelector("a")?.remove();
  row?.append(make("a", { href: `export/${encodeURIComponent(kind)}`, download: "", text: `Download ${name}` }));
}
