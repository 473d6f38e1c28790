// What pages do by themselves: tables are sorted by a click on a heading, and cases are scrolled through.
// A page without cases, or a browser without WebGL 2, keeps the pictures that are in the page.
"use strict";

/** Sorts the rows of a table by a column, numbers by their value; a second time the other way round. */
function sortTable(heading) {
  const body = heading.closest("table").tBodies[0];
  const down = heading.getAttribute("aria-sort") === "ascending";
  const value = (row) => row.cells[heading.cellIndex]?.textContent.trim() ?? "";
  const rows = [...body.rows].sort((a, b) => {
    const apart = parseFloat(value(a)) - parseFloat(value(b));
    return Number.isNaN(apart) ? value(a).localeCompare(value(b), undefined, { numeric: true }) : apart;
  });
  body.append(...(down ? rows.reverse() : rows));
  for (const cell of heading.parentNode.cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const heading of document.querySelectorAll("thead th")) {
  Object.assign(heading, { tabIndex: 0, title: "Sort by this column", onclick: () => sortTable(heading) });
  heading.onkeydown = (event) => event.key === "Enter" && sortTable(heading);
}

const HEADER = 352; // bytes before the voxels of a NIfTI file
const [SLOPE, INTERCEPT, MOST] = [112, 116, 124]; // their places in it
const [MULTIPLANAR, RENDERED, GRID, NEVER] = [3, 4, 2, 0]; // as NiiVue counts
/** Axial, coronal, sagittal: the axes to the right, up, and through the plane. */
const PLANES = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 2, 0],
];
const FIELDS = ["image", "probability", "confidence"];
const [IMAGE, PROBABILITY, CONFIDENCE] = [0, 1, 2];
const COLORMAPS = ["gray", "likely", "magma"];
const OPACITY = [1, 0.7, 0.7];
const LIKELY = {
  R: [0, 68, 33, 94, 253],
  G: [0, 1, 145, 201, 231],
  B: [0, 84, 140, 98, 37],
  A: [0, 120, 190, 220, 255],
  I: [0, 13, 100, 180, 255],
};
/** In three dimensions: nothing, the prediction alone, the label alone, both, what the threshold adds. */
const SOLID = {
  R: [0, 204, 0, 200, 230],
  G: [0, 121, 158, 200, 159],
  B: [0, 167, 115, 200, 0],
  A: [0, 255, 255, 255, 60],
  I: [0, 1, 2, 3, 4],
};
const THRESHOLD = { color: "#ffffff", dashes: [1, 2] };
const VERDICTS = { a: "accept", e: "edit", r: "reject" };
const STEPS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowDown: [1, -1],
  ArrowUp: [1, 1],
  "[": [2, -1],
  "]": [2, 1],
};
const PLAIN = {
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.84, 0.37, 0, 1],
  crosshairWidth: 0.15,
  dragAndDropEnabled: false,
  isNearestInterpolation: true,
  loadingText: "",
  logLevel: "error",
  show3Dcrosshair: true,
};

const at = (id) => document.getElementById(id);
const within = (k, size) => Math.min(size - 1, Math.max(0, k));
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** The bytes of a volume: a NIfTI file. */
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Viewer {
  constructor(cases) {
    this.cases = cases;
    this.verdicts = new Map(cases.map((one) => [one.name, { verdict: "", note: "" }]));
    this.shown = { image: true, probability: false, confidence: false, threshold: false };
    this.hidden = new Set(); // names of masks
    this.threshold = 0.5;
    this.chosen = ""; // structure; where nobody has chosen, the first of each case
    this.reading = Promise.resolve();
    this.saved = true;
  }

  get case() {
    return this.cases[this.position];
  }

  get structure() {
    return this.case.structures.find(({ name }) => name === this.chosen) ?? this.case.structures[0];
  }

  /** Makes the planes and the solid; throws where the browser cannot. */
  async start() {
    at("viewer").hidden = false;
    const planes = { multiplanarLayout: GRID, multiplanarEqualSize: true, multiplanarShowRender: NEVER };
    this.planes = new niivue.Niivue({ ...PLAIN, ...planes, sliceType: MULTIPLANAR });
    this.solid = new niivue.Niivue({ ...PLAIN, sliceType: RENDERED, isOrientCube: true });
    await this.planes.attachToCanvas(at("planes"), false);
    await this.solid.attachToCanvas(at("solid"), false);
    this.planes.addColormap("likely", LIKELY);
    const draw = this.planes.drawScene.bind(this.planes);
    this.planes.drawScene = () => {
      draw();
      this.drawOutlines();
    };
    this.planes.onLocationChange = () => this.say();
    this.listen();
    await this.show(0);
  }

  listen() {
    this.items = this.cases.map((one, k) => {
      const parts = [make("strong", { textContent: one.name }), " ", make("em"), make("br"), one.reason];
      const button = make("button", { type: "button", onclick: () => this.show(k) }, ...parts);
      at("cases").append(make("li", {}, button));
      return button;
    });
    const on = (id, type, act) => at(id).addEventListener(type, (event) => act(event.target));
    on("structure", "change", (list) => {
      this.chosen = list.value;
      this.show(this.position);
    });
    on("view", "change", (list) => this.planes.setSliceType(Number(list.value)));
    on("mirror", "click", (button) => {
      this.planes.setRadiologicalConvention(!this.planes.opts.isRadiologicalConvention);
      button.setAttribute("aria-pressed", this.planes.opts.isRadiologicalConvention);
    });
    on("threshold", "input", (slider) => this.lower(Number(slider.value)));
    on("mark", "click", () => this.lower(this.structure.mark));
    for (const verdict of Object.values(VERDICTS)) on(verdict, "click", () => this.judge({ verdict }));
    on("note", "input", (field) => this.judge({ note: field.value }));
    on("download", "click", () => this.download());
    document.addEventListener("keydown", (event) => this.key(event), true);
    window.addEventListener("beforeunload", (event) => this.saved || event.preventDefault());
  }

  /** Shows a case; what is asked for while another is read comes after it. */
  show(position) {
    this.reading = this.reading.then(() => this.load(within(position, this.cases.length)));
    return this.reading;
  }

  async load(position) {
    const place = position === this.position ? [...this.planes.scene.crosshairPos] : null;
    this.position = position;
    const [{ image, confidence }, structure] = [this.case, this.structure];
    const files = await Promise.all([image ?? confidence, structure.probability, confidence].map(unpacked));
    const read = async (mask) => ({ ...mask, inside: (await unpacked(mask.voxels)).subarray(HEADER) });
    this.masks = await Promise.all(structure.masks.map(read));
    this.allowed = structure.within && (await unpacked(structure.within)).subarray(HEADER);
    this.fields = files.map((file) => file.subarray(HEADER));
    this.header = files[IMAGE].slice(0, HEADER);
    if (place === null && image === null) Object.assign(this.shown, { image: false, probability: true });
    const volumes = files.map((file, k) => niivue.NVImage.new(file.buffer, `${FIELDS[k]}.nii`, COLORMAPS[k]));
    await this.put(this.planes, await Promise.all(volumes));
    this.planes.scene.crosshairPos = place ?? this.firstPlace();
    const flat = this.case.shape.indexOf(1);
    if (flat >= 0) this.planes.setSliceType(2 - flat);
    at("view").hidden = flat >= 0;
    at("structure").replaceChildren(...this.case.structures.map(({ name }) => make("option", { textContent: name })));
    at("structure").selectedIndex = this.case.structures.indexOf(structure);
    const fields = FIELDS.filter((name) => name !== "image" || image !== null);
    at("layers").replaceChildren(
      ...fields.map((name) => this.button(name, "transparent")),
      ...this.masks.map(({ name, line }) => this.button(name, line.color)),
      this.button("threshold", "gray"),
    );
    Object.assign(at("mark"), { hidden: structure.mark === null, textContent: structure.meaning });
    at("tick").value = structure.mark ?? "";
    this.lower(this.threshold, this.shown.threshold);
    this.say();
  }

  put(view, volumes) {
    while (view.volumes.length) view.removeVolume(view.volumes.at(-1));
    volumes.forEach((volume) => view.addVolume(volume));
  }

  mask(kind) {
    return this.masks.find((mask) => mask.name.startsWith(kind) && !this.hidden.has(mask.name))?.inside;
  }

  /** The axial plane where label and prediction differ most, or else with most of the prediction. */
  firstPlace() {
    const [nx, ny, nz] = this.case.shape;
    const [label, prediction] = [this.mask("label"), this.mask("prediction")];
    const chosen = Array.from({ length: nz }, () => []);
    this.fields[PROBABILITY].forEach((_, k) => {
      if (label?.[k] !== prediction?.[k] && (label || prediction[k])) chosen[Math.floor(k / (nx * ny))].push(k);
    });
    const most = chosen.reduce((a, b) => (b.length > a.length ? b : a));
    const k = most[Math.floor(most.length / 2)] ?? Math.floor((nx * ny * nz) / 2);
    return this.center([k % nx, Math.floor(k / nx) % ny, Math.floor(k / (nx * ny))]);
  }

  center(voxel) {
    return voxel.map((k, axis) => (k + 0.5) / this.case.shape[axis]);
  }

  voxel() {
    const { shape } = this.case;
    return shape.map((size, axis) => within(Math.floor(this.planes.scene.crosshairPos[axis] * size), size));
  }

  /** The set of the voxels that reach a threshold; at the mark, the contour that is promised. */
  lower(value, shown = true) {
    const { structure, allowed } = this;
    const promised = value === structure.mark && this.masks.find((mask) => mask.name.startsWith("outer"))?.inside;
    const least = value * 255 - 1e-6;
    const surer = 255 / (1 + (1 / Math.min(value, 0.5) - 1) ** (1 / 6)) - 1e-6; // beyond a promise's margin
    const reaches = (p, k) => (p >= (allowed && !allowed[k] ? Math.max(least, surer) : least) ? 1 : 0);
    this.set = promised || this.fields[PROBABILITY].map(reaches);
    this.threshold = value;
    this.shown.threshold = shown;
    at("threshold").value = value;
    const [a, b, c] = this.case.affine;
    const volume =
      a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
    const ml = (this.set.reduce((sum, voxel) => sum + voxel, 0) * Math.abs(volume)) / 1000;
    const what = promised ? structure.meaning : `where ${structure.name} has at least ${value.toFixed(3)}`;
    at("meaning").textContent = `${what}: ${ml.toFixed(2)} ml`;
    this.refresh();
    this.drawSolid();
  }

  /** Sets every button, and draws the planes. */
  refresh() {
    for (const button of at("layers").children) {
      const on = this.shown[button.textContent] ?? !this.hidden.has(button.textContent);
      button.setAttribute("aria-pressed", on);
    }
    const judged = (one) => this.verdicts.get(one.name);
    this.items.forEach((item, k) => {
      item.setAttribute("aria-current", k === this.position);
      item.querySelector("em").textContent = judged(this.cases[k]).verdict;
    });
    const { verdict, note } = judged(this.case);
    for (const name of Object.values(VERDICTS)) at(name).setAttribute("aria-pressed", name === verdict);
    if (at("note").value !== note) at("note").value = note;
    at("judged").textContent = `${this.case.name}: ${verdict || "no verdict yet"}`;
    FIELDS.forEach((name, k) => this.planes.setOpacity(k, this.shown[name] ? OPACITY[k] : 0));
  }

  button(name, color) {
    const button = make("button", { type: "button", textContent: name, onclick: () => this.toggle(name) });
    button.style.borderBottomColor = color;
    return button;
  }

  toggle(name) {
    if (name in this.shown) this.shown[name] = !this.shown[name];
    else if (!this.hidden.delete(name)) this.hidden.add(name);
    this.refresh();
    this.drawSolid();
  }

  async drawSolid() {
    const [label, prediction] = [this.mask("label"), this.mask("prediction")];
    const file = new Uint8Array(HEADER + this.set.length);
    file.set(this.header);
    const view = new DataView(file.buffer);
    Object.entries({ [SLOPE]: 1, [INTERCEPT]: 0, [MOST]: 4 }).forEach(([k, v]) => view.setFloat32(k, v, true));
    this.set.forEach((inside, k) => {
      const known = (prediction?.[k] ? 1 : 0) + (label?.[k] ? 2 : 0);
      file[HEADER + k] = known || (this.shown.threshold && inside ? 4 : 0);
    });
    const volume = await niivue.NVImage.new(file.buffer, "solid.nii");
    volume.setColormapLabel(SOLID);
    this.put(this.solid, [volume]);
  }

  /** What is under the cursor. */
  say() {
    if (!this.set) return;
    const { affine, shape, image } = this.case;
    const voxel = this.voxel();
    const k = voxel[0] + shape[0] * (voxel[1] + shape[1] * voxel[2]);
    const place = affine.slice(0, 3).map((row) => row[3] + voxel.reduce((sum, v, axis) => sum + v * row[axis], 0));
    const view = new DataView(this.header.buffer);
    const scaled = view.getFloat32(INTERCEPT, true) + view.getFloat32(SLOPE, true) * this.fields[IMAGE][k];
    at("value").textContent = [
      `probability of ${this.structure.name} ${(this.fields[PROBABILITY][k] / 255).toFixed(3)}`,
      ...this.masks.map((mask) => `${mask.name} ${mask.inside[k] ? "yes" : "no"}`),
      `confidence ${(this.fields[CONFIDENCE][k] / 255).toFixed(3)}`,
      ...(image === null ? [] : [`image ${Number(scaled.toPrecision(4))}`]),
      `at ${place.map((mm) => mm.toFixed(1)).join(", ")} mm`,
    ].join(" · ");
    this.solid.scene.crosshairPos = this.planes.scene.crosshairPos;
    if (this.solid.volumes.length) this.solid.drawScene();
  }

  drawOutlines() {
    const { width, height } = this.planes.canvas;
    const canvas = Object.assign(at("outlines"), { width, height });
    if (!this.set || !this.planes.volumes.length) return;
    const lines = this.masks.filter((mask) => !this.hidden.has(mask.name));
    if (this.shown.threshold) lines.push({ inside: this.set, line: THRESHOLD });
    for (const tile of this.planes.screenSlices) {
      for (const { inside, line } of lines) this.drawOutline(canvas.getContext("2d"), tile, inside, line);
    }
  }

  /** The border between the voxels of a mask in a plane and all others. */
  drawOutline(pen, tile, inside, line) {
    const { shape } = this.case;
    const [right, up, through] = PLANES[tile.axCorSag];
    const [left, top, width, height] = tile.leftTopWidthHeight;
    const [low, high] = [0, 1].map((share) => this.planes.frac2mm([share, share, share]));
    const mm = (axis, k) => low[axis] + ((high[axis] - low[axis]) * k) / shape[axis];
    const x = (i) => left + ((mm(right, i) - tile.leftTopMM[0]) / tile.fovMM[0]) * width;
    const y = (j) => top + (1 - (mm(up, j) - tile.leftTopMM[1]) / tile.fovMM[1]) * height;
    const steps = [1, shape[0], shape[0] * shape[1]];
    const first = within(Math.floor(tile.sliceFrac * shape[through]), shape[through]) * steps[through];
    const filled = (i, j) =>
      i >= 0 && j >= 0 && i < shape[right] && j < shape[up] && inside[first + i * steps[right] + j * steps[up]] > 0;
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    pen.beginPath();
    for (let j = -1; j < shape[up]; j++) {
      for (let i = -1; i < shape[right]; i++) {
        pen.moveTo(x(i + 1), y(j));
        if (filled(i, j) !== filled(i + 1, j)) pen.lineTo(x(i + 1), y(j + 1));
        pen.moveTo(x(i), y(j + 1));
        if (filled(i, j) !== filled(i, j + 1)) pen.lineTo(x(i + 1), y(j + 1));
      }
    }
    pen.strokeStyle = line.color;
    pen.lineWidth = 1.5 * window.devicePixelRatio;
    pen.setLineDash(line.dashes.map((length) => length * window.devicePixelRatio));
    pen.stroke();
    pen.restore();
  }

  key(event) {
    const { key, target } = event;
    if (target.matches("select, #note") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches("#threshold") && key in STEPS) return;
    if (key === "j" || key === "k") this.show(this.position + (key === "j" ? 1 : -1));
    else if (key in VERDICTS) this.judge({ verdict: VERDICTS[key] });
    else if (key in STEPS) this.step(...STEPS[key]);
    else if (at("layers").children[key - 1]) at("layers").children[key - 1].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  step(axis, by) {
    const voxel = this.voxel();
    voxel[axis] = within(voxel[axis] + by, this.case.shape[axis]);
    this.planes.scene.crosshairPos = this.center(voxel);
    this.planes.drawScene();
    this.say();
  }

  judge(judged) {
    const known = this.verdicts.get(this.case.name);
    Object.assign(known, judged, judged.verdict === known.verdict && { verdict: "" });
    this.saved = false;
    this.refresh();
  }

  download() {
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const rows = [...this.verdicts].map(([name, { verdict, note }]) => [name, verdict, note].map(quoted).join(","));
    const file = new Blob([["case,verdict,note", ...rows, ""].join("\n")], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(file), download: "verdicts.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
    this.saved = true;
  }
}

if (at("cases-data") && document.createElement("canvas").getContext("webgl2")) {
  const viewer = new Viewer(JSON.parse(at("cases-data").textContent));
  viewer.start().then(
    () => document.body.classList.add("seen"),
    (error) => {
      at("viewer").hidden = true;
      throw error;
    },
  );
}
