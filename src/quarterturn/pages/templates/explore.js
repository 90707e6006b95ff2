// The map of quarterturn explore: points or pictures on a canvas, picked by mouse, finger or keys.
"use strict";
(() => {
  const points = JSON.parse(document.getElementById("points").textContent);
  const byId = (id) => document.getElementById(id);
  const canvas = byId("canvas"), context = canvas.getContext("2d");
  const tiles = byId("tiles"), { side: tileSide, columns: tileColumns } = points.tiles;
  const count = points.names.length;
  const PICTURE = 40; // css px of a picture on the map
  const REACH = 16; // css px around the pointer in which a point is found
  const MOST_LISTED = 200; // names below the map; copying and saving take all
  const MARGIN = 30; // css px around the whole map

  let view = { x: 0, y: 0, scale: 1 }; // css px = place * scale + offset
  let colouring = points.colourings[0];
  let picked = new Set();
  let hovered = -1; // the point below the pointer, or the one that the keys have come to
  let lasso = null; // [[x, y], ...] in css px while it is drawn
  let lassoMode = false;
  let colours = [];
  let shown = []; // points whose pictures are on the canvas
  let drawing = false;

  // --- what a point is ---------------------------------------------------------------------------

  const place = (i) => [points.x[i] * view.scale + view.x, points.y[i] * view.scale + view.y];

  function link(i) {
    if (points.hrefs[i] !== undefined) return points.hrefs[i];
    const folder = points.folders[points.splits[i]];
    if (folder === null) return "";
    const inSplit = points.names[i].startsWith(folder.prefix)
      ? points.names[i].slice(folder.prefix.length) : points.names[i];
    return folder.href + inSplit.split("/").map(encodeURIComponent).join("/");
  }

  function value(one, i) {
    const found = one.values[i];
    if (one.words.length) return one.words[found];
    return found < 0 ? "" : found.toFixed(3);
  }

  function said(one, i) {
    const found = one.values[i];
    if (!one.words.length) {
      return `${one.name}: ${found < 0 ? "not known" : `${one.before}${(100 * found).toFixed(0)} %`}`;
    }
    const word = one.words[found] || "none";
    return word.startsWith(one.name) ? word : `${one.name}: ${word}`;
  }

  const describe = (i) => points.colourings.map((one) => said(one, i)).join(" · ");

  // --- colours -----------------------------------------------------------------------------------

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function groupColour(number) {
    // Steps of the golden angle: neighbours in the legend differ most.
    const hue = (205 + number * 137.508) % 360;
    const light = (dark.matches ? 66 : 44) + 9 * (Math.floor(number / 8) % 2);
    return `hsl(${hue.toFixed(0)} 62% ${light}%)`;
  }

  function fractionColour(value) {
    if (value < 0) return style("--faint");
    const light = dark.matches ? 62 : 46;
    return `hsl(${(30 + 180 * value).toFixed(0)} 70% ${light}%)`;
  }

  function recolour() {
    const isGroups = colouring.words.length > 0;
    colours = colouring.values.map((value) => (isGroups ? groupColour(value) : fractionColour(value)));
    const legend = byId("legend");
    legend.replaceChildren();
    if (isGroups) {
      const sizes = colouring.words.map(() => 0);
      for (const value of colouring.values) sizes[value] += 1;
      colouring.words.forEach((word, number) => {
        if (!sizes[number]) return;
        const button = document.createElement("button");
        const swatch = document.createElement("span"), size = document.createElement("span");
        swatch.className = "swatch";
        size.className = "quiet";
        size.textContent = sizes[number].toLocaleString("en");
        swatch.style.background = groupColour(number);
        button.type = "button";
        button.title = "Pick these";
        button.append(swatch, word || "none", size);
        button.addEventListener("click", () => pickGroup(colouring, number));
        legend.append(button);
      });
    } else {
      const ramp = document.createElement("span");
      ramp.className = "ramp";
      const stops = [0, 0.25, 0.5, 0.75, 1].map(fractionColour);
      ramp.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      legend.append(colouring.low, ramp, colouring.high);
    }
    draw();
  }

  // --- drawing -----------------------------------------------------------------------------------

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => { drawing = false; paint(); });
  }

  function tile(to, i, x, y, side) {
    const left = (i % tileColumns) * tileSide, top = Math.floor(i / tileColumns) * tileSide;
    to.drawImage(tiles, left, top, tileSide, tileSide, x, y, side, side);
  }

  function paint() {
    const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const radius = Math.max(1.5, Math.min(5, 2 + view.scale / 1500)), fades = picked.size > 0;
    const visible = [];
    for (let i = 0; i < count; i++) {
      const [x, y] = place(i);
      if (x > -PICTURE && y > -PICTURE && x < width + PICTURE && y < height + PICTURE) visible.push(i);
    }
    for (const i of visible) {
      const [x, y] = place(i);
      context.globalAlpha = fades && !picked.has(i) ? 0.25 : 0.9;
      context.fillStyle = colours[i];
      context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    }
    shown = [];
    if (byId("pictures").checked && tiles.complete) paintPictures(visible, fades);
    context.globalAlpha = 1;
    if (hovered >= 0) ring(hovered, 3);
    if (lasso) paintLasso();
  }

  // A picture at its own place, wherever none that came before is in the way. Points are asked in one
  // order, so that pictures stay while the map is moved.
  function paintPictures(visible, fades) {
    const cells = new Map();
    const order = fades ? [...visible].sort((a, b) => picked.has(b) - picked.has(a)) : visible;
    for (const i of order) {
      const [x, y] = place(i), column = Math.floor(x / PICTURE), row = Math.floor(y / PICTURE);
      if (isTaken(cells, column, row, x, y)) continue;
      cells.set(`${column},${row}`, [x, y]);
      shown.push(i);
      context.globalAlpha = fades && !picked.has(i) ? 0.3 : 1;
      tile(context, i, x - PICTURE / 2, y - PICTURE / 2, PICTURE);
      context.strokeStyle = colours[i];
      context.lineWidth = 2;
      context.strokeRect(x - PICTURE / 2, y - PICTURE / 2, PICTURE, PICTURE);
    }
  }

  function isTaken(cells, column, row, x, y) {
    for (let c = column - 1; c <= column + 1; c++) {
      for (let r = row - 1; r <= row + 1; r++) {
        const [px, py] = cells.get(`${c},${r}`) ?? [Infinity, Infinity];
        if (Math.abs(px - x) < PICTURE + 3 && Math.abs(py - y) < PICTURE + 3) return true;
      }
    }
    return false;
  }

  function ring(i, width) {
    const [x, y] = place(i);
    context.strokeStyle = style("--ink");
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.stroke();
  }

  function paintLasso() {
    context.strokeStyle = style("--rotation");
    context.lineWidth = 2;
    context.setLineDash([5, 4]);
    context.beginPath();
    lasso.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.stroke();
    context.setLineDash([]);
  }

  // --- looking -----------------------------------------------------------------------------------

  function whole() {
    const width = canvas.clientWidth - 2 * MARGIN, height = canvas.clientHeight - 2 * MARGIN;
    const spanX = Math.max(...bounds.x) - Math.min(...bounds.x) || 1e-6;
    const spanY = Math.max(...bounds.y) - Math.min(...bounds.y) || 1e-6;
    const scale = Math.min(width / spanX, height / spanY);
    view = {
      scale,
      x: MARGIN + (width - spanX * scale) / 2 - Math.min(...bounds.x) * scale,
      y: MARGIN + (height - spanY * scale) / 2 - Math.min(...bounds.y) * scale,
    };
    draw();
  }

  const bounds = { x: [Infinity, -Infinity], y: [Infinity, -Infinity] };
  for (const axis of ["x", "y"]) {
    for (const value of points[axis]) {
      bounds[axis][0] = Math.min(bounds[axis][0], value);
      bounds[axis][1] = Math.max(bounds[axis][1], value);
    }
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = Math.min(2e5, Math.max(80, view.scale * factor)), by = scale / view.scale;
    view = { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
    draw();
  }

  // The point whose picture is there, or else the nearest.
  function nearest(x, y, reach) {
    for (const i of shown) {
      const [px, py] = place(i);
      if (Math.max(Math.abs(px - x), Math.abs(py - y)) <= PICTURE / 2) return i;
    }
    let best = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      const [px, py] = place(i), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best;
  }

  function hover(i) {
    hovered = i;
    const box = byId("hover");
    box.hidden = i < 0;
    if (i >= 0) {
      const [x, y] = place(i), to = byId("picture").getContext("2d");
      to.imageSmoothingEnabled = tileSide > 20;
      tile(to, i, 0, 0, 144);
      byId("hover-name").textContent = points.names[i];
      byId("hover-words").textContent = describe(i);
      const left = x + 180 > canvas.clientWidth ? x - 178 : x + 16;
      box.style.left = `${Math.max(2, Math.min(left, canvas.clientWidth - 166))}px`;
      const top = Math.min(y - 20, canvas.clientHeight - box.offsetHeight - 4);
      box.style.top = `${Math.max(4, top)}px`;
    }
    draw();
  }

  // --- picking -----------------------------------------------------------------------------------

  function pick(some, add = false) {
    picked = new Set(add ? [...picked, ...some] : some);
    const list = byId("selected"), chosen = [...picked].sort((a, b) => a - b);
    const number = chosen.length.toLocaleString("en");
    byId("selected-count").textContent = chosen.length
      ? `${number} ${chosen.length === 1 ? "image" : "images"} picked` : "Nothing picked";
    for (const id of ["copy", "save", "clear"]) byId(id).disabled = !chosen.length;
    byId("done").textContent = "";
    list.replaceChildren(...chosen.slice(0, MOST_LISTED).map(item));
    if (chosen.length > MOST_LISTED) {
      const more = document.createElement("li");
      more.textContent = `… and ${(chosen.length - MOST_LISTED).toLocaleString("en")} more`;
      list.append(more);
    }
    draw();
  }

  function item(i) {
    const entry = document.createElement("li"), small = document.createElement("canvas");
    small.width = small.height = 36;
    tile(small.getContext("2d"), i, 0, 0, 36);
    const name = document.createElement(link(i) ? "a" : "span");
    if (link(i)) name.href = link(i);
    name.textContent = points.names[i];
    entry.append(small, name);
    return entry;
  }

  function pickGroup(one, number) {
    pick(one.values.flatMap((value, i) => (value === number ? [i] : [])));
  }

  function within(polygon, x, y) {
    let inside = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [ax, ay] = polygon[i], [bx, by] = polygon[j];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    }
    return inside;
  }

  function closeLasso(add) {
    const polygon = lasso, found = [];
    lasso = null;
    for (let i = 0; i < count; i++) if (within(polygon, ...place(i))) found.push(i);
    pick(found, add);
  }

  function setLasso(on) {
    lassoMode = on;
    byId("lasso").setAttribute("aria-pressed", String(on));
    canvas.classList.toggle("lasso", on);
  }

  // --- taking it away ----------------------------------------------------------------------------

  const chosen = () => [...picked].sort((a, b) => a - b);

  async function copy() {
    const text = chosen().map((i) => points.names[i]).join("\n");
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea"); // a page opened as a file may lack the other
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    byId("done").textContent = "Copied.";
  }

  function csvCell(value) {
    const text = String(value);
    // As in the csv files of quarterturn: nothing that a spreadsheet would take for a formula.
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv() {
    const columns = points.colourings;
    const rows = chosen().map((i) => [points.names[i], ...columns.map((one) => value(one, i))]);
    return [["name", ...columns.map((one) => one.name)], ...rows]
      .map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
  }

  function save() {
    const file = document.createElement("a");
    file.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    file.download = "picked.csv";
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
    byId("done").textContent = "Saved as picked.csv.";
  }

  // --- pointers ----------------------------------------------------------------------------------

  const pointers = new Map(); // pointer to its place; two of them pinch
  let moved = false;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    moved = false;
    if (pointers.size === 1 && (lassoMode || event.shiftKey)) lasso = [at(event)];
  });

  canvas.addEventListener("pointermove", (event) => {
    const now = at(event), before = pointers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType === "mouse") hover(nearest(...now, REACH));
      return;
    }
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (lasso) {
      lasso.push(now);
      moved = true;
      draw();
    } else if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, where]) => where);
      const distance = (where) => Math.hypot(where[0] - other[0], where[1] - other[1]);
      zoom(distance(now) / Math.max(1, distance(before)), ...other);
      moved = true;
    } else if (moved || Math.hypot(dx, dy) > 4) {
      view = { ...view, x: view.x + dx, y: view.y + dy };
      moved = true;
      hover(-1);
    } else {
      return; // not yet a drag: the place where it began stays
    }
    pointers.set(event.pointerId, now);
  });

  function release(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (lasso) {
      if (moved) closeLasso(event.ctrlKey || event.metaKey);
      else lasso = null;
      setLasso(false);
    } else if (!moved && event.type === "pointerup") {
      const i = nearest(...at(event), REACH);
      hover(i);
      if (i >= 0) pick([i], event.ctrlKey || event.metaKey);
      else pick([]);
    }
    draw();
  }
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { if (!pointers.size) hover(-1); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), ...at(event));
  }, { passive: false });

  // --- keys --------------------------------------------------------------------------------------

  // The nearest point within 45 degrees of a direction; nearness counts along it.
  function step(dx, dy) {
    if (hovered < 0) return nearest(canvas.clientWidth / 2, canvas.clientHeight / 2, Infinity);
    const [x, y] = place(hovered);
    let best = hovered, least = Infinity;
    for (let i = 0; i < count; i++) {
      const [px, py] = place(i), along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy - (py - y) * dx);
      if (along > 0.5 && aside <= along && along + aside < least) [best, least] = [i, along + aside];
    }
    return best;
  }

  function intoView(i) {
    const [x, y] = place(i), { clientWidth: width, clientHeight: height } = canvas;
    view = {
      ...view,
      x: view.x + Math.max(0, MARGIN - x) - Math.max(0, x - width + MARGIN),
      y: view.y + Math.max(0, MARGIN - y) - Math.max(0, y - height + MARGIN),
    };
    hover(i);
  }

  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) intoView(step(...ARROWS[event.key]));
    else if (event.key === "+" || event.key === "=") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") whole();
    else if (event.key === "Enter" || event.key === " ") {
      if (hovered < 0) return;
      if (picked.has(hovered)) pick([...picked].filter((i) => i !== hovered));
      else pick([hovered], true);
    } else if (event.key === "Escape") {
      lasso = null;
      setLasso(false);
      hover(-1);
      pick([]);
    } else return;
    event.preventDefault();
  });

  // --- controls ----------------------------------------------------------------------------------

  points.colourings.forEach((one, number) => byId("colour").append(new Option(one.name, number)));
  byId("colour").addEventListener("change", (event) => {
    colouring = points.colourings[Number(event.target.value)];
    recolour();
  });
  byId("pictures").addEventListener("change", draw);
  byId("zoom-in").addEventListener("click", () => zoom(1.5));
  byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
  byId("whole").addEventListener("click", whole);
  byId("lasso").addEventListener("click", () => setLasso(!lassoMode));
  byId("copy").addEventListener("click", copy);
  byId("save").addEventListener("click", save);
  byId("clear").addEventListener("click", () => pick([]));
  for (const button of document.querySelectorAll(".on-map")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      pickGroup(points.colourings[0], Number(button.dataset.cluster));
      byId("map-section").scrollIntoView();
    });
  }
  byId("map").hidden = false;
  dark.addEventListener("change", recolour);
  new ResizeObserver(draw).observe(canvas);
  tiles.decode().then(draw, draw);
  whole();
  recolour();
})();
