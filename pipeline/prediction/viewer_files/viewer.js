// The viewer of one case: three planes of the scan under a map, outlines, and the table of clusters.
//
// A page that is opened from disk may not fetch files. So each volume is a script beside the page, which calls
// `cevaeVolume` with the file in base64. NiiVue draws the voxels; the outlines are lines on a second canvas.
"use strict";

const waiting = {};

/** Called by the script of a volume. */
function cevaeVolume(name, base64) {
  waiting[name](base64);
}

/** Return the file of a volume in base64; its script is loaded when it is asked for the first time. */
function load(source, name) {
  return new Promise((resolve, reject) => {
    waiting[name] = resolve;
    const script = document.createElement("script");
    script.src = source;
    script.onerror = () => reject(new Error(`${name} cannot be loaded`));
    document.head.append(script);
  });
}

/** Return the numbers (uint16) of a gzip file in base64. */
async function numbersOf(base64) {
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint16Array(await new Response(stream).arrayBuffer());
}

class Viewer {
  /** `data`: what the page says of the case, see viewer.py. */
  constructor(data) {
    this.data = data;
    this.selected = 0;
    this.shown = { map: data.first, outlines: true };
    this.volumes = {};
  }

  async open() {
    const { Niivue, SHOW_RENDER } = globalThis.niivue;
    this.nv = new Niivue({
      isRadiologicalConvention: true, // the patient's right at the left edge, as in the pictures
      sagittalNoseLeft: true,
      showAllOrientationMarkers: true,
      isCornerOrientationText: false,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      crosshairColor: [0.3, 0.9, 0.4, 0.7],
      crosshairWidth: 0.5,
      crosshairGap: 8,
      fontColor: [0.9, 0.9, 0.9, 1],
      fontMinPx: 14,
      isForceMouseClickToVoxelCenters: true,
      dragAndDropEnabled: false,
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
      logLevel: "error",
      tileMargin: 4,
    });
    await this.nv.attachToCanvas(element("slices"));
    this.dragFor("crosshair");
    this.nv.addColormap("surprise", this.data.colours);
    this.outlines = element("outlines");
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = () => {
      if (!element("slices").offsetWidth) return ""; // hidden, as on paper
      const result = draw();
      this.drawOutlines();
      return result;
    };
    const thin = this.data.shape.indexOf(1); // a single slice has one plane
    if (thin >= 0) this.nv.setSliceType(2 - thin);
    await this.add("scan", "gray");
    this.window = [this.nv.volumes[0].cal_min, this.nv.volumes[0].cal_max];
    this.labels = await numbersOf(await load(this.data.volumes.outlines.source, "outlines"));
    this.nv.onLocationChange = (place) => this.tell(place);
    await this.show(this.shown.map);
    this.go(this.data.start, this.label(this.data.start) >> 2);
  }

  /** Choose what the left button and a finger do: "crosshair" or "windowing", the grey levels. */
  dragFor(mode) {
    const { DRAG_MODE } = globalThis.niivue, { windowing } = DRAG_MODE, primary = DRAG_MODE[mode];
    const leftButton = { primary, withShift: windowing };
    this.nv.setMouseEventConfig({ leftButton, rightButton: windowing, centerButton: windowing });
    this.nv.setTouchEventConfig({ singleTouch: primary, doubleTouch: windowing });
  }

  async add(name, colormap) {
    const volume = this.data.volumes[name];
    const base64 = await load(volume.source, name);
    const [low, high] = volume.shown;
    const options = { base64, name: `${name}.nii.gz`, colormap, cal_min: low, cal_max: high, opacity: 1 };
    this.volumes[name] = await globalThis.niivue.NVImage.loadFromBase64(options);
    this.nv.addVolume(this.volumes[name]);
  }

  /** Show a map over the scan; "" shows the scan alone. */
  async show(name) {
    this.shown.map = name;
    if (name && !this.volumes[name]) await this.add(name, "surprise");
    element("map").value = name;
    const threshold = element("threshold");
    if (name) {
      const [low, high] = this.data.volumes[name].range;
      Object.assign(threshold, { min: low, max: high, step: (high - low) / 200, value: this.volumes[name].cal_min });
    }
    for (const control of [threshold, element("opacity")]) control.disabled = !name;
    this.refresh();
  }

  /** Apply opacity and threshold to the map that is shown, and hide the others. */
  refresh() {
    const opacity = Number(element("opacity").value);
    for (const [name, volume] of Object.entries(this.volumes)) {
      if (name === "scan") continue;
      volume.opacity = name === this.shown.map ? opacity : 0;
      if (name !== this.shown.map) continue;
      const low = Number(element("threshold").value);
      volume.cal_min = low;
      volume.cal_max = Math.max(this.data.volumes[name].shown[1], low + 1e-3);
      element("threshold-value").textContent = low.toPrecision(3);
    }
    element("opacity-value").textContent = `${Math.round(100 * opacity)} %`;
    this.nv.updateGLVolume();
    element("slices").dataset.map = this.shown.map;
  }

  /** Move the cross-hair to a voxel, and select a cluster. */
  go(voxel, cluster = 0) {
    this.select(cluster);
    this.nv.scene.crosshairPos = voxel.map((i, axis) => (i + 0.5) / this.data.shape[axis]);
    this.nv.createOnLocationChange();
    this.nv.drawScene();
  }

  goToCluster(cluster) {
    const found = this.data.clusters.find((one) => one.cluster === cluster);
    if (found) this.go(found.peak, cluster);
  }

  select(cluster) {
    this.selected = cluster;
    for (const row of document.querySelectorAll("#clusters tr[data-cluster]")) {
      row.classList.toggle("selected", Number(row.dataset.cluster) === cluster);
    }
  }

  voxel() {
    return this.data.shape.map((n, axis) =>
      Math.min(Math.max(Math.floor(this.nv.scene.crosshairPos[axis] * n), 0), n - 1));
  }

  label([x, y, z]) {
    const [nx, ny] = this.data.shape;
    return this.labels[x + nx * (y + ny * z)];
  }

  /** Write the place and the values under the cross-hair. */
  tell(place) {
    const voxel = this.voxel();
    const words = [["right", "left"], ["anterior", "posterior"], ["superior", "inferior"]];
    const parts = this.data.affine.map((row, axis) => {
      const mm = row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3];
      return `${Math.abs(mm).toFixed(0)} mm ${words[axis][mm >= 0 ? 0 : 1]}`;
    });
    for (const value of place.values ?? []) {
      const name = value.name.replace(".nii.gz", "");
      if (name === "scan" || name === this.shown.map) parts.push(`${name} ${Number(value.value).toPrecision(3)}`);
    }
    const label = this.label(voxel), cluster = label >> 2;
    if (cluster) parts.push(`cluster ${cluster}`);
    if (label & 2) parts.push("annotated lesion");
    element("place").textContent = parts.join(", ");
    element("slices").dataset.voxel = voxel.join(" ");
  }

  /** Draw the edges of the brain and of the clusters in each plane, as lines between voxels. */
  drawOutlines() {
    const canvas = this.outlines, below = element("slices");
    if (canvas.width !== below.width || canvas.height !== below.height) {
      canvas.width = below.width;
      canvas.height = below.height;
    }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.labels || !this.shown.outlines) return;
    for (const tile of this.nv.screenSlices) if (tile.axCorSag <= 2) this.drawTile(pen, tile);
  }

  drawTile(pen, tile) {
    const fixed = 2 - tile.axCorSag; // axial: z, coronal: y, sagittal: x
    const [u, v] = [[1, 2], [0, 2], [0, 1]][fixed];
    const { shape } = this.data, at = this.voxel();
    const onScreen = this.screenOf(tile, u, v);
    const label = (i, j) => {
      if (i < 0 || j < 0 || i >= shape[u] || j >= shape[v]) return 0;
      at[u] = i;
      at[v] = j;
      return this.label(at);
    };
    const paths = { brain: new Path2D(), cluster: new Path2D(), selected: new Path2D(), lesion: new Path2D() };
    const line = (kind, i, j, nextI, nextJ) => {
      paths[kind].moveTo(...onScreen(i, j));
      paths[kind].lineTo(...onScreen(nextI, nextJ));
    };
    const edge = (one, other, ...ends) => {
      if (one === other) return;
      if ((one & 1) !== (other & 1)) line("brain", ...ends);
      if ((one & 2) !== (other & 2)) line("lesion", ...ends);
      if (one >> 2 !== other >> 2) {
        const chosen = this.selected && (one >> 2 === this.selected || other >> 2 === this.selected);
        line(chosen ? "selected" : "cluster", ...ends);
      }
    };
    for (let j = 0; j <= shape[v]; j++) {
      for (let i = 0; i <= shape[u]; i++) {
        const here = label(i, j);
        edge(here, label(i - 1, j), i, j, i, j + 1);
        edge(here, label(i, j - 1), i, j, i + 1, j);
      }
    }
    const scale = devicePixelRatio || 1;
    for (const [kind, colour, width] of [["brain", "rgb(0 191 255 / 80%)", 1], ["cluster", "#fff", 1],
      ["selected", "#7dff6b", 2], ["lesion", "#e85aff", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * scale;
      pen.stroke(paths[kind]);
    }
  }

  /** Return the function from voxel edges along the axes u and v to the pixels of a plane. */
  screenOf(tile, u, v) {
    const { shape } = this.data;
    const mm = (i, j) => {
      const place = [0.5, 0.5, 0.5];
      place[u] = i / shape[u];
      place[v] = j / shape[v];
      const inMm = this.nv.frac2mm(place);
      return [inMm[u], inMm[v]];
    };
    let [left, top, width, height] = tile.leftTopWidthHeight;
    const mirrored = width < 0;
    if (mirrored) [left, width] = [left + width, -width];
    const pixel = ([x, y]) => {
      const along = (x - tile.leftTopMM[0]) / tile.fovMM[0];
      const up = (y - tile.leftTopMM[1]) / tile.fovMM[1];
      return [left + (mirrored ? 1 - along : along) * width, top + (1 - up) * height];
    };
    const zero = pixel(mm(0, 0)), end = pixel(mm(shape[u], shape[v]));
    return (i, j) => [
      zero[0] + (end[0] - zero[0]) * i / shape[u],
      zero[1] + (end[1] - zero[1]) * j / shape[v],
    ];
  }
}

const element = (id) => document.getElementById(id);

function connect(viewer) {
  element("map").addEventListener("change", (event) => viewer.show(event.target.value));
  element("opacity").addEventListener("input", () => viewer.refresh());
  element("threshold").addEventListener("input", () => viewer.refresh());
  element("edges").addEventListener("change", (event) => {
    viewer.shown.outlines = event.target.checked;
    viewer.nv.drawScene();
  });
  element("drag").addEventListener("change", (event) => viewer.dragFor(event.target.checked ? "windowing" : "crosshair"));
  element("levels").addEventListener("click", () => {
    [viewer.nv.volumes[0].cal_min, viewer.nv.volumes[0].cal_max] = viewer.window;
    viewer.nv.updateGLVolume();
  });
  for (const row of document.querySelectorAll("#clusters tr[data-cluster]")) {
    row.addEventListener("click", () => {
      viewer.goToCluster(Number(row.dataset.cluster));
      element("viewer").scrollIntoView({ block: "nearest" });
    });
  }
  const steps = {
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };
  // Before NiiVue, whose own keys turn things that this page does not have.
  element("viewer").addEventListener("keydown", (event) => {
    if (event.target !== element("slices") || event.ctrlKey || event.altKey || event.metaKey) return;
    event.stopPropagation();
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (steps[key]) viewer.nv.moveCrosshairInVox(...steps[key]);
    else if (key === "n" || key === "p") {
      const next = viewer.selected + (key === "n" ? 1 : -1), number = viewer.data.clusters.length;
      if (number) viewer.goToCluster(((next - 1 + number) % number) + 1);
    } else if (key === "o") viewer.show(viewer.shown.map ? "" : viewer.data.first);
    else if (key === "b") element("edges").click();
    else return;
    event.preventDefault();
  }, true);
  element("slices").addEventListener("keyup", (event) => event.stopImmediatePropagation(), true);
}

async function start() {
  const viewer = new Viewer(JSON.parse(element("case-data").textContent));
  globalThis.cevaeViewer = viewer;
  const canvas = document.createElement("canvas");
  if (!canvas.getContext("webgl2") || typeof DecompressionStream === "undefined") {
    throw new Error("this browser has no WebGL 2");
  }
  if (!globalThis.niivue) throw new Error("../viewer_files/niivue.umd.js is not there; keep the folder viewer_files");
  element("viewer").hidden = false;
  await viewer.open();
  connect(viewer);
  element("still").hidden = element("no-viewer").hidden = true;
  document.body.classList.add("has-viewer");
  element("viewer").dataset.ready = "true";
}

start().catch((error) => {
  element("viewer").hidden = true;
  element("no-viewer").textContent = `The slices cannot be shown here: ${error.message}.`;
  element("no-viewer").className = "bad";
});
