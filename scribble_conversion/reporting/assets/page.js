"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const viewer = document.getElementById("viewer");
  if (!viewer) return;

  const SVG = "http://www.w3.org/2000/svg";
  const MARGINS = 36;
  const LEGEND = 240;
  const TALLEST = 620;
  const stage = document.getElementById("stage");
  const inner = document.getElementById("inner");
  const choice = document.getElementById("case");
  const slider = document.getElementById("slice");
  const where = document.getElementById("where");
  const legend = document.getElementById("legend");
  const remarks = document.getElementById("remarks");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  const outlines = document.getElementById("outlines");
  const zoom = document.getElementById("zoom");
  const hidden = new Set();
  const rows = new Map();
  let current = 0;
  let position = 0;

  function picture(content, name) {
    const element = document.createElement("img");
    element.className = name;
    element.alt = "";
    element.draggable = false;
    element.src = "data:image/png;base64," + content;
    return element;
  }

  function drawing(entry, slice) {
    const element = document.createElementNS(SVG, "svg");
    element.setAttribute("viewBox", "0 0 " + entry.width + " " + entry.height);
    element.setAttribute("preserveAspectRatio", "none");
    for (const kind of data.classes) {
      if (hidden.has(kind.value) || !slice.outlines[kind.value]) continue;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", slice.outlines[kind.value]);
      path.setAttribute("stroke", kind.colour);
      element.appendChild(path);
    }
    return element;
  }

  // The stage is as large as the window allows; zoomed, the picture is larger than it and shifted.
  function arrange(entry) {
    const box = zoom.checked && entry.box ? entry.box : [0, 0, entry.width, entry.height];
    const [left, top, right, bottom] = box;
    const pixel = (entry.aspect * entry.height) / entry.width; // width of a pixel, in its heights
    const shape = ((right - left) * pixel) / (bottom - top);
    const room = viewer.clientWidth - MARGINS;
    const beside = room > 620 ? room - LEGEND : room;
    const height = Math.min(TALLEST, beside / shape);
    const width = height * shape;
    stage.style.width = width + "px";
    stage.style.height = height + "px";
    const scale = height / (bottom - top);
    inner.style.width = entry.width * pixel * scale + "px";
    inner.style.height = entry.height * scale + "px";
    inner.style.left = -left * pixel * scale + "px";
    inner.style.top = -top * scale + "px";
  }

  function show() {
    const entry = data.cases[current];
    const slice = entry.slices[position];
    const parts = [picture(slice.image, "image")];
    for (const kind of data.classes) {
      const content = slice.strokes[kind.value];
      rows.get(kind.value).classList.toggle("absent", !content);
      if (content && !hidden.has(kind.value)) parts.push(picture(content, "stroke"));
    }
    if (outlines && outlines.checked) parts.push(drawing(entry, slice));
    inner.replaceChildren(...parts);
    arrange(entry);
    choice.value = String(current);
    slider.max = String(entry.slices.length - 1);
    slider.value = String(position);
    slider.disabled = entry.slices.length === 1;
    where.textContent = "slice " + (slice.index + 1) + " of " + entry.total;
    stage.setAttribute("aria-label", entry.name + ", " + where.textContent);
    remarks.textContent = entry.problems.length ? "Problems: " + entry.problems.join("; ") : "";
    previous.disabled = current === 0 && position === 0;
    next.disabled = current === data.cases.length - 1 && position === entry.slices.length - 1;
  }

  function go(index, slice) {
    current = Math.max(0, Math.min(index, data.cases.length - 1));
    position = Math.max(0, Math.min(slice, data.cases[current].slices.length - 1));
    show();
  }

  function step(by) {
    const last = data.cases[current].slices.length - 1;
    if (position + by > last && current < data.cases.length - 1) go(current + 1, 0);
    else if (position + by < 0 && current > 0) go(current - 1, Infinity);
    else go(current, position + by);
  }

  function middle(index) {
    return Math.floor(data.cases[Math.max(0, Math.min(index, data.cases.length - 1))].slices.length / 2);
  }

  data.cases.forEach(function (entry, index) {
    const option = document.createElement("option");
    option.value = String(index);
    option.textContent = entry.name + (entry.problems.length ? "  !" : "");
    choice.appendChild(option);
  });

  for (const kind of data.classes) {
    const row = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.addEventListener("change", function () {
      if (box.checked) hidden.delete(kind.value);
      else hidden.add(kind.value);
      show();
    });
    const swatch = document.createElementNS(SVG, "svg");
    swatch.setAttribute("viewBox", "0 0 12 12");
    swatch.setAttribute("class", "swatch");
    const square = document.createElementNS(SVG, "rect");
    square.setAttribute("width", "12");
    square.setAttribute("height", "12");
    square.setAttribute("rx", "2");
    square.setAttribute("fill", kind.colour);
    swatch.appendChild(square);
    row.append(box, swatch, kind.name);
    legend.appendChild(row);
    rows.set(kind.value, row);
  }

  previous.addEventListener("click", function () { step(-1); });
  next.addEventListener("click", function () { step(1); });
  slider.addEventListener("input", function () { go(current, Number(slider.value)); });
  choice.addEventListener("change", function () { go(Number(choice.value), middle(Number(choice.value))); });
  zoom.addEventListener("change", show);
  if (outlines) outlines.addEventListener("change", show);
  window.addEventListener("resize", function () { arrange(data.cases[current]); });
  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in steps) step(steps[event.key]);
    else if (viewer.contains(event.target) && event.key === "ArrowUp") go(current - 1, middle(current - 1));
    else if (viewer.contains(event.target) && event.key === "ArrowDown") go(current + 1, middle(current + 1));
    else return;
    event.preventDefault();
  });

  go(0, middle(0));
})();
