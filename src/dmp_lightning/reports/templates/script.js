const data = JSON.parse(document.getElementById("data").textContent);
const views = new Map();
const plots = new Map(data.charts.map((chart) => [chart.name, chart.spec.data.values]));

async function draw({ name, spec }) {
  const { view } = await window.vegaEmbed(`#${CSS.escape(name)}`, spec, { actions: false, renderer: "svg" });
  views.set(name, view);
}

// Which lines the boxes leave; what has no box is never asked about.
function visible() {
  const unwanted = [...document.querySelectorAll("[data-facet]")].map((set) => [
    set.dataset.facet,
    new Set([...set.querySelectorAll("input:not(:checked)")].map((box) => box.value)),
  ]);
  return new Set(
    data.lines.filter((line) => unwanted.every(([key, values]) => !values.has(line[key]))).map((line) => line.id),
  );
}

async function filter() {
  const shown = visible();
  for (const element of document.querySelectorAll("[data-line]")) {
    const out = !shown.has(element.dataset.line);
    element.classList.toggle("filtered", out);
    element.hidden = out;
  }
  for (const block of document.querySelectorAll("[data-measure]")) block.hidden = !block.querySelector("tbody tr:not(.filtered)");
  document.querySelectorAll(".viewer").forEach(choose);
  const lines = data.lines.filter((line) => line.id.startsWith("line-"));
  const output = document.getElementById("shown");
  if (output) output.value = `${lines.filter((line) => shown.has(line.id)).length} of ${lines.length} lines shown`;
  await Promise.all(
    [...views].map(([name, view]) => {
      const rows = plots.get(name).filter((row) => shown.has(row.id));
      const figure = document.getElementById(name).closest("figure");
      figure.hidden = !rows.some((row) => row.id.startsWith("line-"));
      const series = new Set(rows.map((row) => row.series ?? row.method));
      for (const entry of figure.querySelectorAll("[data-series]")) entry.hidden = !series.has(entry.dataset.series);
      return figure.hidden || view.data(data.rows, rows).runAsync();
    }),
  );
  for (const section of document.querySelectorAll("[data-filtered]")) {
    section.hidden = !section.querySelector("figure.chart:not([hidden]), [data-line]:not(.filtered)");
  }
}

// Of pictures that are long, one line's at a time; in print all that are not filtered out.
function choose(viewer) {
  const select = viewer.querySelector("select");
  for (const option of select.options) {
    const slide = viewer.querySelector(`.slide[data-line="${option.value}"]`);
    option.hidden = option.disabled = slide.classList.contains("filtered");
  }
  if (select.selectedOptions[0]?.disabled) select.value = [...select.options].find((option) => !option.disabled)?.value ?? "";
  for (const slide of viewer.querySelectorAll(".slide")) slide.hidden = slide.dataset.line !== select.value;
}

function sort(header) {
  const column = [...header.parentElement.children].indexOf(header);
  const rising = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => row.children[column].dataset.value ?? row.children[column].textContent.trim();
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const numbers = [Number.parseFloat(x), Number.parseFloat(y)];
    const found = numbers.some(Number.isNaN) ? x.localeCompare(y) : numbers[0] - numbers[1];
    return rising ? found : -found;
  };
  for (const body of header.closest("table").tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("base"));
    body.append(...rows.sort(order));
  }
}

for (const button of document.querySelectorAll(".sortable thead button")) button.addEventListener("click", () => sort(button.closest("th")));
for (const select of document.querySelectorAll(".viewer select")) select.addEventListener("change", () => choose(select.closest(".viewer")));
for (const range of document.querySelectorAll(".compare input")) {
  range.addEventListener("input", () => range.closest(".compare").style.setProperty("--at", `${range.value}%`));
}
const form = document.querySelector(".filters form");
form?.addEventListener("change", filter);
form?.addEventListener("reset", () => setTimeout(filter));
form?.addEventListener("submit", (event) => event.preventDefault());

// Paper has nothing to unfold.
const folded = new Set();
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("main details:not([open])")) {
    folded.add(details);
    details.open = true;
  }
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
  folded.clear();
});

await Promise.all(data.charts.map(draw));
await filter();
document.documentElement.dataset.ready = "true";
