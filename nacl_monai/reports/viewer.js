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
  heading.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault(); // a space would scroll the page
    sortTable(heading);
  });
}

const HEADER = 352; // bytes before the voxels of a NIfTI file
const [SIZES, SLOPE, INTERCEPT, MOST, ROWS] = [42, 112, 116, 124, 280]; // their places in it
const [MULTIPLANAR, RENDERED, GRID, NEVER] = [3, 4, 2, 0]; // as NiiVue counts
const [CONTRAST, PAN, CROSSHAIR] = [1, 3, 8];
const SOLID_VOXELS = 2e6; // the solid has no more
const LETTERS = ["LR", "PA", "IS"];
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
const THRESHOLD = { color: "#ffffff", dashes: [1, 3] };
const CURSOR = { color: "#ff8c3a", dashes: [] };
const COLUMNS = ["case", "verdict", "note", "reader", "date"];
const READER = "nacl_monai reader";
const VERDICTS = { a: "accept", e: "edit", r: "reject", l: "label is wrong" };
/** The center of a window and its width in Hounsfield units, as radiologists know them. */
const WINDOWS = {
  "CT soft tissue": [40, 400],
  "CT liver": [60, 160],
  "CT lung": [-600, 1500],
  "CT bone": [400, 1800],
  "CT brain": [40, 80],
};
const STEPS = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowDown: [1, -1],
  ArrowUp: [1, 1],
  "[": [2, -1],
  "]": [2, 1],
};
const ZOOMS = { "+": 1.25, "-": 0.8, 0: 0 };
const SLICES = { ",": -1, ".": 1 };
const ACTIONS = { n: "island", d: "difference", p: "doubtful" };
const PLAIN = {
  backColor: [0, 0, 0, 1],
  crosshairColor: [1, 0.55, 0.23, 1],
  dragAndDropEnabled: false,
  isNearestInterpolation: true,
  isOrientationTextVisible: false,
  loadingText: "",
  logLevel: "error",
  show3Dcrosshair: true,
};

const THIN = { crosshairWidth: 0.5, crosshairWidthUnit: "percent" };

const at = (id) => document.getElementById(id);
const buttonOf = (key) => document.querySelector(`#viewer [data-key="${key}"]`);
const within = (k, size) => Math.min(size - 1, Math.max(0, k));
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** The bytes of a volume: a NIfTI file. */
async function unpacked(text) {
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Where a mask is, and no lines yet. */
const filled = async (text) => ({ inside: (await unpacked(text)).subarray(HEADER), lines: [] });

/** The closed lines around what is inside of a plane, along the edges of its pixels: corners as x + y · (width + 1). */
function traced(inside, width, height) {
  const ends = new Map(); // corner → where the edges that start there end
  const row = width + 1;
  const edge = (from, to) => (ends.has(from) ? ends.get(from).push(to) : ends.set(from, [to]));
  for (let y = 0, k = 0; y < height; y++) {
    for (let x = 0; x < width; x++, k++) {
      if (!inside[k]) continue;
      const corner = x + y * row;
      if (y === 0 || !inside[k - width]) edge(corner, corner + 1);
      if (x === width - 1 || !inside[k + 1]) edge(corner + 1, corner + 1 + row);
      if (y === height - 1 || !inside[k + width]) edge(corner + 1 + row, corner + row);
      if (x === 0 || !inside[k - 1]) edge(corner + row, corner);
    }
  }
  const lines = [];
  for (const start of ends.keys()) {
    while (ends.get(start).length) {
      const line = [start];
      do line.push(ends.get(line.at(-1)).pop());
      while (line.at(-1) !== start);
      lines.push(line);
    }
  }
  return lines.sort((a, b) => b.length - a.length);
}

/** The rows of a table as CSV, whose cells may be quoted. */
function csvRows(text) {
  const rows = [[]];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1).push(quoted?.replaceAll('""', '"') ?? plain);
    if (end !== ",") rows.push([]);
  }
  return rows.filter((row) => row.length > 1);
}

/** What this browser keeps under a name; nothing where it may not keep anything. */
const kept = (name) => {
  try {
    return JSON.parse(window.localStorage.getItem(name));
  } catch {
    return null;
  }
};
const keep = (name, value) => {
  try {
    window.localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
};

class Viewer {
  constructor(cases) {
    this.cases = cases;
    this.store = `nacl_monai verdicts ${at("viewer").dataset.page}`;
    const verdicts = kept(this.store) ?? {};
    this.verdicts = new Map(cases.map(({ name }) => [name, { verdict: "", note: "", ...verdicts[name] }]));
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
    const buttons = {
      leftButton: { primary: CROSSHAIR, withShift: PAN },
      centerButton: PAN,
      rightButton: CONTRAST,
    };
    const both = { ...PLAIN, ...planes, crosshairWidth: 0, sliceType: MULTIPLANAR };
    this.planes = new niivue.Niivue(both);
    // A file says its window, which is all that its bytes can be; NiiVue would look at each voxel for it.
    niivue.NVImage.prototype.calMinMax = function () {
      const { cal_min: low, cal_max: high } = this.hdr;
      Object.assign(this, { cal_min: low, cal_max: high, robust_min: low, robust_max: high });
      Object.assign(this, { global_min: low, global_max: high });
    };
    this.solid = new niivue.Niivue({ ...PLAIN, ...THIN, sliceType: RENDERED, isOrientCube: true });
    await this.planes.attachToCanvas(at("planes"), false);
    this.planes.setMouseEventConfig(buttons); // an option of this name is overlooked
    await this.solid.attachToCanvas(at("solid"), false);
    this.planes.addColormap("likely", LIKELY);
    const draw = this.planes.drawScene.bind(this.planes);
    this.planes.drawScene = () => {
      draw();
      this.drawOverlay();
    };
    this.planes.onLocationChange = () => this.say();
    this.mirror(true);
    this.listen();
    await this.show(this.linked() ?? 0);
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
    on("every", "click", (button) => {
      button.setAttribute("aria-pressed", (this.every = !this.every));
      this.show(this.position);
    });
    on("smooth", "click", (button) => {
      button.setAttribute("aria-pressed", (this.smooth = !this.smooth));
      this.planes.setInterpolation(!this.smooth);
    });
    on("full", "click", () => at("planes").parentNode.requestFullscreen());
    at("window").append(...Object.keys(WINDOWS).map((name) => make("option", { textContent: name })));
    on("window", "change", (list) => this.setWindow(WINDOWS[(this.preset = list.value)], true));
    const numbers = () => ["center", "width"].map((id) => at(id).valueAsNumber);
    for (const id of ["center", "width"]) on(id, "change", () => this.setWindow(numbers(), true));
    this.planes.onIntensityChange = () => this.sayWindow();
    on("view", "change", (list) => this.look(Number((this.view = list.value))));
    on("mirror", "click", () => this.mirror(!this.planes.opts.isRadiologicalConvention));
    for (const target of document.querySelectorAll("#viewer [data-key]")) {
      target.addEventListener("click", () => this.key({ key: target.dataset.key, target }));
    }
    on("threshold", "input", (slider) => this.lower(Number(slider.value)));
    on("mark", "click", () => this.lower(this.structure.mark));
    on("note", "input", (field) => this.judge({ note: field.value }));
    at("reader").value = kept(READER) ?? "";
    on("reader", "input", (field) => keep(READER, field.value));
    on("download", "click", () => this.download());
    on("verdicts", "change", async (field) => {
      this.readVerdicts(await field.files[0].text());
      field.value = "";
    });
    at("viewer").addEventListener("keydown", (event) => this.key(event), true);
    const zoom = (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      event.stopPropagation();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8);
    };
    at("planes").parentNode.addEventListener("wheel", zoom, { capture: true, passive: false });
    window.addEventListener("beforeunload", (event) => this.saved || event.preventDefault());
    window.addEventListener("hashchange", () => this.linked() !== null && this.show(this.linked()));
    const beside = [...document.querySelectorAll("#beside a")].map((link) => [link.textContent, link.href]);
    const links = new Map([...this.cases.map(({ name }) => [name, `#case=${encodeURIComponent(name)}`]), ...beside]);
    for (const cell of document.querySelectorAll("tbody th")) {
      const [textContent, href] = [cell.textContent, links.get(cell.textContent)];
      if (href) cell.replaceChildren(make("a", { textContent, href }));
    }
  }

  /** The case that the address asks for, and its place in mm; null where it asks for none. */
  linked() {
    const [, name = "", place] = window.location.hash.match(/^#case=([^&]*)(?:&at=([-.,\d]+))?/) ?? [];
    const position = this.cases.findIndex((one) => one.name === decodeURIComponent(name));
    this.wanted = place?.split(",").map(Number);
    if (position >= 0) at("viewer").scrollIntoView();
    return position < 0 ? null : position;
  }

  /** Shows a case; what is asked for while another is read comes after it. */
  show(position) {
    this.reading = this.reading.then(() => this.load(within(position, this.cases.length)));
    return this.reading;
  }

  async load(position) {
    const place = position === this.position ? [...this.planes.scene.crosshairPos] : null;
    this.position = position;
    const [{ image, confidence, blank }, structure] = [this.case, this.structure];
    Object.assign(at("loading"), { hidden: false, textContent: `loading ${this.case.name} …` });
    await new Promise((done) => window.setTimeout(done, 20)); // so that this is seen
    const files = await Promise.all([image ?? confidence, structure.probability, confidence].map(unpacked));
    const masksOf = ({ name: of, masks }) =>
      masks.map(async (mask) => ({ ...mask, of, ...(await filled(mask.voxels)) }));
    const others = this.case.structures.filter((one) => this.every && one !== structure);
    this.masks = await Promise.all(masksOf(structure));
    this.others = await Promise.all(others.flatMap(masksOf));
    this.allowed = structure.within && (await filled(structure.within)).inside;
    this.blank = blank && (await filled(blank)).inside;
    this.fields = files.map((file) => file.subarray(HEADER));
    this.header = files[IMAGE].slice(0, HEADER);
    this.held = { line: THRESHOLD, lines: [], own: new Uint8Array(this.fields[PROBABILITY].length) };
    if (place === null && image === null) Object.assign(this.shown, { image: false, probability: true });
    const volumes = files.map((file, k) => niivue.NVImage.new(file.buffer, `${FIELDS[k]}.nii`, COLORMAPS[k]));
    [this.volumes, this.seen, this.solidVolume] = [await Promise.all(volumes), "", null];
    this.setWindow(WINDOWS[this.preset]);
    if (place === null) this.planes.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.planes.scene.crosshairPos = place ?? this.firstPlace();
    this.listParts(structure);
    this.lower(this.threshold, this.shown.threshold);
    if (this.wanted?.length === 3) this.planes.scene.crosshairPos = this.planes.mm2frac(this.wanted);
    this.wanted = null;
    this.go(this.voxel());
    at("loading").hidden = true;
  }

  /** Offers what the case has: planes, structures, layers. */
  listParts(structure) {
    const { shape, structures, affine, image } = this.case;
    const sizes = [0, 1, 2].map((axis) => Math.hypot(...affine.slice(0, 3).map((row) => row[axis])));
    const oblique = sizes.map((size, axis) => (Math.acos(Math.min(1, affine[axis][axis] / size)) * 180) / Math.PI);
    const most = Math.max(...oblique);
    at("oblique").hidden = most < 1;
    at("oblique").textContent =
      `The slices are oblique: their axes are up to ${most.toFixed(0)}° off the letters, each of which names the nearest.`;
    const flat = shape.indexOf(1);
    const thick = sizes.findIndex((size, k) => sizes.every((other, axis) => axis === k || size >= 3 * other));
    at("view").value = flat >= 0 ? 2 - flat : (this.view ?? (thick < 0 ? MULTIPLANAR : 2 - thick));
    at("view").hidden = flat >= 0;
    this.look(Number(at("view").value));
    at("every").hidden = structures.length < 2;
    buttonOf("l").hidden = !this.mask("label");
    at("windows").hidden = image === null;
    at("structure").replaceChildren(...structures.map(({ name }) => make("option", { textContent: name })));
    at("structure").selectedIndex = structures.indexOf(structure);
    const fields = FIELDS.filter((name) => name !== "image" || image !== null);
    at("layers").replaceChildren(
      ...fields.map((name) => this.button(name)),
      ...this.masks.map(({ name, line }) => this.button(name, line)),
      this.button("threshold", THRESHOLD),
    );
    this.islands = { island: null, difference: null, doubtful: { places: this.case.doubtful, visited: 0 } };
    at("island").textContent = "next island";
    at("doubtful").textContent = "next doubtful plane";
    at("difference").hidden = !this.pair();
    at("difference").textContent = `next disagreement of ${this.pair()
      ?.map((mask) => mask.name)
      .join(" and ")}`;
    for (const key of document.querySelectorAll("#viewer [data-with]")) key.hidden = buttonOf(key.dataset.with).hidden;
    Object.assign(at("mark"), { hidden: structure.mark === null, textContent: structure.meaning });
    at("tick").value = structure.mark ?? "";
  }

  /** Shows one of the planes, or all. */
  look(type) {
    at("corner").classList.toggle("small", type !== MULTIPLANAR);
    this.planes.setSliceType(type);
  }

  /** The patient's left is on the right, as radiologists look at it, or on the left. */
  mirror(radiological) {
    Object.assign(this.planes.opts, { isRadiologicalConvention: radiological, sagittalNoseLeft: radiological });
    at("mirror").textContent = radiological ? "radiological: left on the right" : "neurological: left on the left";
    this.planes.drawScene();
  }

  /** Shows the image by the center and width of a window; without a width, by that of the crop. */
  setWindow([center, width] = [], drawn = false) {
    const image = this.volumes[IMAGE];
    image.cal_min = width > 0 ? center - width / 2 : image.robust_min;
    image.cal_max = width > 0 ? center + width / 2 : image.robust_max;
    this.sayWindow();
    if (drawn) this.planes.updateGLVolume();
  }

  sayWindow() {
    const { cal_min: low, cal_max: high, robust_min: least, robust_max: most } = this.volumes[IMAGE];
    const numbers = [(low + high) / 2, high - low].map((number) => Number(number.toPrecision(4)));
    [at("center").value, at("width").value] = numbers;
    const preset = Object.keys(WINDOWS).find((name) => WINDOWS[name].join() === numbers.join());
    at("window").value = preset ?? (low === least && high === most ? "" : "own");
  }

  /** Makes the planes larger or smaller around the cursor. */
  zoom(by) {
    const [x, y, z, before] = this.planes.scene.pan2Dxyzmm;
    const now = by === 0 ? 1 : Math.min(32, Math.max(1, before * by));
    const center = this.planes.frac2mm(this.planes.scene.crosshairPos);
    const pan = [x, y, z].map((mm, axis) => (now === 1 ? 0 : mm + (before - now) * center[axis]));
    this.planes.setPan2Dxyzmm([...pan, now]);
  }

  put(view, volumes) {
    Object.assign(view, { volumes, back: volumes[0], overlays: volumes.slice(1) });
    view.updateGLVolume();
  }

  mask(kind) {
    return this.masks.find((mask) => mask.name.startsWith(kind));
  }

  /** The two masks whose difference says where to look; where nobody has labeled, the contours. */
  pair() {
    const pairs = [
      ["label", "prediction"],
      ["outer", "inner"],
    ];
    return pairs.map((kinds) => kinds.map((kind) => this.mask(kind))).find((masks) => masks.every(Boolean));
  }

  /** The axial plane where label and prediction differ most, or else with most of the prediction; the middle without any. */
  firstPlace() {
    const { shape } = this.case;
    const area = shape[0] * shape[1];
    const [label, prediction] = [this.mask("label"), this.mask("prediction")].map((mask) => mask?.inside);
    const matters = (k) => (label ? label[k] !== prediction[k] : prediction[k]);
    const counts = new Uint32Array(shape[2]);
    for (let k = 0; k < prediction.length; k++) if (matters(k)) counts[Math.floor(k / area)]++;
    const z = counts.indexOf(Math.max(...counts));
    if (counts[z] === 0) return [0.5, 0.5, 0.5];
    let [k, left] = [z * area, Math.floor(counts[z] / 2)];
    while (!matters(k) || left-- > 0) k++;
    return this.center(this.voxelAt(k));
  }

  voxelAt(k) {
    const [nx, ny] = this.case.shape;
    return [k % nx, Math.floor(k / nx) % ny, Math.floor(k / (nx * ny))];
  }

  center(voxel) {
    return voxel.map((k, axis) => (k + 0.5) / this.case.shape[axis]);
  }

  voxel() {
    const { shape } = this.case;
    return shape.map((size, axis) => within(Math.floor(this.planes.scene.crosshairPos[axis] * size), size));
  }

  /** Goes to the next island, or of the difference of two masks, the largest first, or to the next doubtful plane. */
  next(what) {
    if (this.islands[what] === null) {
      const [one, other] = what === "island" ? [this.mask("prediction")] : this.pair();
      const different = (inside, k) => (inside !== other.inside[k] ? 1 : 0);
      this.islands[what] = { places: this.middles(other ? one.inside.map(different) : one.inside), visited: 0 };
    }
    const { places, visited } = this.islands[what];
    const count = places.length ? `${(visited % places.length) + 1} of ${places.length}` : "none";
    at(what).textContent = `${at(what).textContent.split(" (")[0]} (${count})`;
    if (!places.length) return;
    this.islands[what].visited++;
    this.go(places[visited % places.length]);
  }

  /** A voxel in the middle of each 26-connected island, the largest island first. */
  middles(inside) {
    const [nx, ny, nz] = this.case.shape;
    const left = inside.slice();
    const islands = [];
    for (let k = left.indexOf(1); k >= 0; k = left.indexOf(1, k)) {
      const island = [k];
      left[k] = 0;
      for (const voxel of island) {
        const [x, y, z] = this.voxelAt(voxel);
        for (let c = Math.max(0, z - 1); c < Math.min(nz, z + 2); c++) {
          for (let b = Math.max(0, y - 1); b < Math.min(ny, y + 2); b++) {
            for (let a = Math.max(0, x - 1); a < Math.min(nx, x + 2); a++) {
              const near = a + nx * (b + ny * c);
              if (left[near]) left[near] = island.push(near) * 0;
            }
          }
        }
      }
      islands.push(island.map((voxel) => this.voxelAt(voxel)));
    }
    return islands
      .sort((a, b) => b.length - a.length)
      .map((island) => {
        const mean = [0, 1, 2].map((axis) => island.reduce((sum, voxel) => sum + voxel[axis], 0) / island.length);
        const away = (voxel) => Math.hypot(...voxel.map((k, axis) => k - mean[axis]));
        return island.reduce((a, b) => (away(b) < away(a) ? b : a));
      });
  }

  /** The set of the voxels that reach a threshold; at the mark, the contour that is promised. */
  lower(value, shown = true) {
    const { structure, allowed, held } = this;
    const promised = value === structure.mark && this.mask("outer")?.inside;
    const least = value * 255 - 1e-6;
    const surer = 255 / (1 + (1 / Math.min(value, 0.5) - 1) ** (1 / 6)) - 1e-6; // beyond a promise's margin
    const beyond = Math.max(least, surer);
    const probability = this.fields[PROBABILITY];
    held.inside = promised || held.own;
    held.lines = [];
    let count = 0;
    for (let k = 0; k < probability.length; k++) {
      if (!promised) held.own[k] = probability[k] >= (allowed && !allowed[k] ? beyond : least) ? 1 : 0;
      count += held.inside[k];
    }
    this.threshold = value;
    this.shown.threshold = shown;
    at("threshold").value = value;
    const [a, b, c] = this.case.affine;
    const volume =
      a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
    const ml = (count * Math.abs(volume)) / 1000;
    const what = promised ? structure.meaning : `where ${structure.name} has at least ${value.toFixed(3)}`;
    at("meaning").textContent = `${what}: ${ml.toFixed(2)} ml`;
    this.refresh();
    this.drawSolid();
  }

  /** Sets every button, and draws what has changed: volumes are uploaded only where others are shown. */
  refresh() {
    for (const button of at("layers").children) {
      const on = this.shown[button.textContent] ?? !this.hidden.has(button.textContent);
      button.setAttribute("aria-pressed", on);
    }
    this.items.forEach((item, k) => {
      item.setAttribute("aria-current", k === this.position);
      item.querySelector("em").textContent = this.verdicts.get(this.cases[k].name).verdict;
    });
    const { verdict, note } = this.verdicts.get(this.case.name);
    for (const [key, name] of Object.entries(VERDICTS)) buttonOf(key).setAttribute("aria-pressed", name === verdict);
    if (at("note").value !== note) at("note").value = note;
    at("judged").textContent = `${this.case.name}: ${verdict || "no verdict yet"}`;
    const seen = FIELDS.filter((name) => this.shown[name]).join();
    if (seen === this.seen) return this.drawOverlay();
    this.seen = seen;
    this.volumes.forEach((volume, k) => (volume.opacity = this.shown[FIELDS[k]] ? OPACITY[k] : 0));
    return this.put(
      this.planes,
      this.volumes.filter((volume, k) => k === IMAGE || volume.opacity),
    );
  }

  button(name, { color, dashes } = {}) {
    const button = make("button", { type: "button", textContent: name, onclick: () => this.toggle(name) });
    if (!color) return button;
    const ends = (dashes.length ? dashes : [1, 0]).map((_, k) => dashes.slice(0, k + 1).reduce((a, b) => a + b, 0));
    const parts = ends.map((end, k) => `${k % 2 ? "#222" : color} ${ends[k - 1] ?? 0}px ${end || 1}px`);
    button.style.setProperty("--dashes", `repeating-linear-gradient(90deg, ${parts.join()})`);
    return button;
  }

  toggle(name) {
    if (name in this.shown) this.shown[name] = !this.shown[name];
    else if (!this.hidden.delete(name)) this.hidden.add(name);
    this.refresh();
    if (!FIELDS.includes(name)) this.drawSolid();
  }

  /** Draws the solid once all that is being done is done. */
  drawSolid() {
    window.clearTimeout(this.waiting);
    this.waiting = window.setTimeout(() => this.putSolid(), 50);
  }

  async putSolid() {
    const [nx, ny, nz] = this.case.shape;
    const step = Math.ceil(Math.cbrt((nx * ny * nz) / SOLID_VOXELS)); // so many voxels are one along each axis
    const sizes = this.case.shape.map((size) => Math.ceil(size / step));
    const shown = (kind) => (this.hidden.has(this.mask(kind)?.name) ? null : this.mask(kind)?.inside);
    const [label, prediction] = [shown("label"), shown("prediction")];
    const threshold = this.shown.threshold && this.held.inside;
    const file = new Uint8Array(HEADER + sizes[0] * sizes[1] * sizes[2]);
    file.set(this.header);
    const view = new DataView(file.buffer);
    sizes.forEach((size, axis) => view.setInt16(SIZES + 2 * axis, size, true));
    for (let row = 0; row < 3; row++) {
      for (let axis = 0; axis < 3; axis++) {
        view.setFloat32(ROWS + 4 * (4 * row + axis), this.case.affine[row][axis] * step, true);
      }
    }
    Object.entries({ [SLOPE]: 1, [INTERCEPT]: 0, [MOST]: 4 }).forEach(([k, v]) => view.setFloat32(k, v, true));
    for (let z = 0, k = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        const row = HEADER + sizes[0] * (Math.floor(y / step) + sizes[1] * Math.floor(z / step));
        for (let x = 0; x < nx; x++, k++) {
          const known = (prediction?.[k] ? 1 : 0) + (label?.[k] ? 2 : 0) || (threshold && threshold[k] ? 4 : 0);
          if (known) file[row + Math.floor(x / step)] = known;
        }
      }
    }
    const volume = await niivue.NVImage.new(file.buffer, "solid.nii");
    volume.setColormapLabel(SOLID);
    this.put(this.solid, [volume]);
  }

  /** What is under the cursor. */
  say() {
    if (!this.held) return;
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
      ...(image === null ? [] : [`image ${this.blank?.[k] ? "without a value" : Number(scaled.toPrecision(4))}`]),
      `at ${place.map((mm, axis) => `${LETTERS[axis][mm < 0 ? 0 : 1]} ${Math.abs(mm).toFixed(1)}`).join(", ")} mm`,
    ].join(" · ");
    const mm = place.map((number) => number.toFixed(1)).join();
    at("place").href = `#case=${encodeURIComponent(this.case.name)}&at=${mm}`;
    this.solid.scene.crosshairPos = this.planes.scene.crosshairPos;
    if (this.solid.volumes.length) this.solid.drawScene();
  }

  /** Outlines, cursor, letters and a scale, above the planes. */
  drawOverlay() {
    const { width, height } = this.planes.canvas;
    const canvas = Object.assign(at("outlines"), { width, height });
    if (!this.held?.inside || !this.planes.volumes.length) return;
    const masks = [...this.others, ...this.masks].filter((mask) => !this.hidden.has(mask.name));
    if (this.shown.threshold) masks.push(this.held);
    const pen = canvas.getContext("2d");
    for (const tile of this.planes.screenSlices.filter(({ axCorSag }) => axCorSag in PLANES)) {
      pen.save();
      pen.beginPath();
      pen.rect(...tile.leftTopWidthHeight);
      pen.clip();
      this.drawTile(pen, tile, masks);
      pen.restore();
    }
  }

  drawTile(pen, tile, masks) {
    const { shape } = this.case;
    const [right, up, through] = PLANES[tile.axCorSag];
    const [left, top, width, height] = tile.leftTopWidthHeight;
    const [low, high] = [0, 1].map((share) => this.planes.frac2mm([share, share, share]));
    const mm = (axis, share) => low[axis] + (high[axis] - low[axis]) * share;
    const x = (share) => left + ((mm(right, share) - tile.leftTopMM[0]) / tile.fovMM[0]) * width;
    const y = (share) => top + (1 - (mm(up, share) - tile.leftTopMM[1]) / tile.fovMM[1]) * height;
    const slice = within(Math.floor(tile.sliceFrac * shape[through]), shape[through]);
    const px = window.devicePixelRatio;
    const [paths, names] = [[], []];
    for (const mask of masks) {
      const path = new window.Path2D();
      const lines = this.linesOf(mask, tile.axCorSag, slice);
      const place = (corner) => [
        x((corner % (shape[right] + 1)) / shape[right]),
        y(Math.floor(corner / (shape[right] + 1)) / shape[up]),
      ];
      for (const line of lines) line.forEach((corner, k) => path[k ? "lineTo" : "moveTo"](...place(corner)));
      paths.push([path, mask.line]);
      const name = mask.name?.startsWith("label of") ? mask.name : mask.of;
      if (lines.length && (this.every || name !== mask.of)) names.push([name, ...place(Math.max(...lines[0]))]);
    }
    const [path, scale] = [new window.Path2D(), new window.Path2D()];
    const [cx, cy] = [right, up].map((axis) => this.planes.scene.crosshairPos[axis]);
    for (const sign of [-1, 1]) {
      path.moveTo(x(cx) + sign * 6 * px, y(cy));
      path.lineTo(x(cx) + sign * (width + Math.abs(x(cx))), y(cy));
      path.moveTo(x(cx), y(cy) + sign * 6 * px);
      path.lineTo(x(cx), y(cy) + sign * (height + Math.abs(y(cy))));
    }
    const [long] = [100, 50, 20, 10, 5, 2, 1].filter((size) => (size / Math.abs(tile.fovMM[0])) * width < width / 3);
    const end = left + 8 * px + ((long ?? 1) / Math.abs(tile.fovMM[0])) * width;
    scale.moveTo(left + 8 * px, top + height - 8 * px);
    scale.lineTo(end, top + height - 8 * px);
    this.stroke(pen, [...paths, [path, CURSOR], [scale, { color: "#fff", dashes: [] }]]);
    const [less, more] = LETTERS[right];
    const flipped = tile.fovMM[0] < 0;
    const margin = 11 * px;
    this.write(pen, flipped ? more : less, left + margin, top + height / 2);
    this.write(pen, flipped ? less : more, left + width - margin, top + height / 2);
    this.write(pen, LETTERS[up][1], left + width / 2, top + margin);
    this.write(pen, `${long ?? 1} mm`, end + 26 * px, top + height - 9 * px, 12);
    const written = new Set(); // each name once
    for (const [name, ...place] of names) {
      if (!written.has(name)) this.write(pen, name, place[0], place[1] - 9 * px, 12);
      written.add(name);
    }
  }

  /** The closed lines of a mask in a plane; those that were drawn last are kept. */
  linesOf(mask, plane, slice) {
    if (mask.lines[plane]?.slice !== slice) {
      const { shape } = this.case;
      const [right, up, through] = PLANES[plane];
      const steps = [1, shape[0], shape[0] * shape[1]];
      const inside = new Uint8Array(shape[right] * shape[up]);
      for (let j = 0, k = 0; j < shape[up]; j++) {
        const first = slice * steps[through] + j * steps[up];
        for (let i = 0; i < shape[right]; i++, k++) inside[k] = mask.inside[first + i * steps[right]];
      }
      mask.lines[plane] = { slice, lines: traced(inside, shape[right], shape[up]) };
    }
    return mask.lines[plane].lines;
  }

  /** Draws lines, the whole ones below the dashed, above dark casings, so that they are seen on black and on white. */
  stroke(pen, paths) {
    const px = window.devicePixelRatio;
    pen.setLineDash([]);
    Object.assign(pen, { strokeStyle: "rgb(0 0 0 / 60%)", lineWidth: 3.5 * px, lineJoin: "round" });
    for (const [path] of paths) pen.stroke(path);
    pen.lineWidth = 1.6 * px;
    for (const [path, { color, dashes }] of paths.sort((a, b) => a[1].dashes.length - b[1].dashes.length)) {
      pen.setLineDash(dashes.map((length) => length * px));
      pen.strokeStyle = color;
      pen.stroke(path);
    }
  }

  /** Writes white letters with a dark rim, which are read on black and on white. */
  write(pen, text, x, y, size = 15) {
    const px = window.devicePixelRatio;
    pen.setLineDash([]);
    const how = { font: `600 ${size * px}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle" };
    Object.assign(pen, how, { strokeStyle: "#000", lineWidth: 4 * px, lineJoin: "round", fillStyle: "#fff" });
    pen.strokeText(text, x, y);
    pen.fillText(text, x, y);
  }

  key(event) {
    const { key, target } = event;
    if (target.matches("select, input:not([type=range])") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.matches("#threshold") && key in STEPS) return;
    if (key === "j" || key === "k") this.show(this.position + (key === "j" ? 1 : -1));
    else if (key in VERDICTS && !buttonOf(key).hidden) this.judge({ verdict: VERDICTS[key] });
    else if (key in SLICES) this.step((PLANES[at("view").value] ?? PLANES[0])[2], SLICES[key]);
    else if (key in STEPS) this.step(...STEPS[key]);
    else if (key in ZOOMS) this.zoom(ZOOMS[key]);
    else if (key in ACTIONS && !at(ACTIONS[key]).hidden) this.next(ACTIONS[key]);
    else if (at("layers").children[key - 1]) at("layers").children[key - 1].click();
    else return;
    event.preventDefault?.();
    event.stopPropagation?.();
  }

  step(axis, by) {
    const voxel = this.voxel();
    voxel[axis] = within(voxel[axis] + by, this.case.shape[axis]);
    this.go(voxel);
  }

  go(voxel) {
    this.planes.scene.crosshairPos = this.center(voxel);
    this.planes.drawScene();
    this.say();
  }

  judge(judged) {
    const known = this.verdicts.get(this.case.name);
    Object.assign(known, judged, judged.verdict === known.verdict && { verdict: "" });
    Object.assign(known, { reader: at("reader").value, date: new Date().toISOString().slice(0, 19) + "Z" });
    this.keepVerdicts();
  }

  keepVerdicts() {
    this.saved = keep(this.store, Object.fromEntries(this.verdicts));
    this.refresh();
  }

  download() {
    const plain = (text) => (/^[=+\-@]/.test(text) ? `'${text}` : text); // a spreadsheet would compute it
    const quoted = (text) => `"${plain(text).replaceAll('"', '""')}"`;
    const rows = [...this.verdicts].map(([case_, verdict]) => ({ case: case_, ...verdict }));
    const lines = rows.map((row) => COLUMNS.map((name) => quoted(row[name] ?? "")).join(","));
    const file = new Blob([[COLUMNS.join(), ...lines, ""].join("\n")], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(file), download: "verdicts.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
    this.saved = true;
  }

  /** Takes verdicts from a file that was downloaded; where both have one, the later stays. */
  readVerdicts(text) {
    const [names, ...rows] = csvRows(text.replace(/^\uFEFF/, ""));
    const read = rows.map((row) => Object.fromEntries(row.map((cell, k) => [names[k], cell])));
    const known = read.filter((row) => this.verdicts.has(row.case));
    const judged = known.filter((row) => Object.values(VERDICTS).includes(row.verdict) || row.note);
    const newer = judged.filter((row) => (row.date ?? "") >= (this.verdicts.get(row.case).date ?? ""));
    for (const { case: name, verdict, note = "", reader, date } of newer) {
      this.verdicts.set(name, { verdict, note: note.replace(/^'(?=[=+\-@])/, ""), reader, date });
    }
    this.keepVerdicts();
    const less = judged.length - newer.length;
    at("judged").textContent = [
      `${newer.length} verdict${newer.length === 1 ? "" : "s"} read`,
      ...(less ? [`${less} older than those here`] : []),
      ...(read.length > known.length ? [`${read.length - known.length} of cases that are not here`] : []),
    ].join(", ");
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
