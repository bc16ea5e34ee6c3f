"use strict";
// Sorts and filters the tables. A unit is what moves and hides as one: a row, or a machine's group of rows.

const collator = new Intl.Collator("en", { numeric: true });

function sortBy(table, units, header) {
  const column = header.cellIndex;
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const numeric = !header.classList.contains("t");
  const keys = new Map();
  for (const unit of units) {
    const cell = (unit.rows?.[0] ?? unit).cells[column];
    const text = cell.dataset.key ?? cell.textContent.trim(); // a key, where the text does not sort as it should
    const key = numeric ? parseFloat(text) : text;
    keys.set(unit, key === "–" || Number.isNaN(key) ? null : key);
  }
  units.sort((a, b) => {
    const [left, right] = [keys.get(a), keys.get(b)];
    if (left === null || right === null) return (left === null) - (right === null); // undefined is last, both ways
    return direction * (numeric ? left - right : collator.compare(left, right));
  });
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  units[0]?.parentElement.append(...units);
}

function filter(form, units) {
  const words = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  const selects = [...form.querySelectorAll("select")].filter((select) => select.value);
  let shown = 0;
  for (const unit of units) {
    const text = unit.textContent.toLowerCase();
    const keep = words.every((word) => text.includes(word)) &&
      selects.every((select) => unit.dataset[select.dataset.match] === select.value);
    unit.hidden = !keep;
    shown += keep;
  }
  const output = form.querySelector("output");
  output.textContent = `${shown} of ${units.length} ${output.dataset.unit}`;
}

for (const table of document.querySelectorAll("table[data-units]")) {
  const units = [...table.querySelectorAll(`:scope > ${table.dataset.units}`)];
  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button").addEventListener("click", () => sortBy(table, units, header));
  }
  const form = document.querySelector(`form[data-for="${table.id}"]`);
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => filter(form, units));
  filter(form, units);
}
