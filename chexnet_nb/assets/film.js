// One film on the page, after maps.js: its picture under its map, and what is known about it.
const RASTER = 384; // Longest side of the enlarged map, in pixels
const MASK = 256, PRIOR = 32; // Sides of an outline's mask and of a location prior, as in gallery.py
const PRESETS = {full: [0, 1], auto: [.01, .99], lungs: [.01, .6], bones: [.4, .995]}; // Windows, as shares of the film's pixels

const bytes = view => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const floats = view => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset+view.byteLength));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const plain = finding => finding.replaceAll("_", " ");

// An element; what has a dash is an attribute, the rest are properties.
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.includes("-") || name === "role") node.setAttribute(name, value); else node[name] = value;
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// One film under its map, with what is known about it in its corners.
class Pane {
  constructor(about) {
    this.about = about;
    this.image = make("img", {className: "cam-picture", alt: "", draggable: false});
    this.map = make("canvas", {className: "cam-map", "aria-hidden": "true"});
    this.lines = draw("svg", {class: "cam-lines", preserveAspectRatio: "none", "aria-hidden": "true"});
    this.scale = this.lines.appendChild(draw("g"));
    this.film = make("div", {className: "cam-film"}, this.image, this.map, this.lines);
    for (const part of ["name", "answer", "reason"]) this[part] = make("div", {className: `cam-corner cam-${part}`});
    this.frame = make("div", {className: "cam-frame"}, this.film, this.reason);
    this.node = make("div", {className: "cam-pane"}, this.frame, this.answer, this.name);
  }

  // Another film, all of it at once when its picture is decoded; false if a later one was asked for meanwhile.
  async show(film) {
    this.wanted = film;
    const source = film.image?.byteLength ? await this.decode(film.image) : "";
    if (this.wanted !== film) return false;
    [this.data, this.maps, this.film.hidden] = [film, new Map(), !source];
    const line = (tag, text, className = "") => text ? [make(tag, {textContent: text, className})] : [];
    this.name.replaceChildren(...line("b", film.name), ...line("div", film.facts), ...line("span", film.notes, "cam-tag"));
    this.answer.replaceChildren();
    this.reason.textContent = film.reason ?? "";
    if (source) this.replace(source);
    return true;
  }

  async decode(jpeg) {
    const image = make("img", {src: URL.createObjectURL(new Blob([jpeg], {type: "image/jpeg"}))});
    await image.decode().catch(() => null);
    return image.src;
  }

  replace(source) {
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.src = source;
    this.greys = null;
  }

  // A window by its name: shares of the film's grey values, read from a small copy.
  preset(name) {
    if (name === "full" || this.film.hidden) return [0, 255];
    if (!this.greys) {
      const small = new OffscreenCanvas(128, 128).getContext("2d", {willReadFrequently: true});
      small.drawImage(this.image, 0, 0, 128, 128);
      this.greys = small.getImageData(0, 0, 128, 128).data.filter((_, i) => i % 4 === 0).sort();
    }
    const [low, high] = PRESETS[name].map(share => this.greys[Math.round(share*(this.greys.length-1))]);
    return [low, Math.max(high, low+1)];
  }

  // The map of a finding, enlarged once; null without one.
  enlarged(k) {
    const {grid: [rows, columns], heat, size: [width, height]} = this.data;
    if (!rows) return null;
    if (!this.maps.has(k)) {
      const share = RASTER/Math.max(width, height), size = [width, height].map(n => Math.max(1, Math.round(n*share)));
      const values = enlarge(floats(heat).subarray(k*rows*columns, (k+1)*rows*columns), [rows, columns], ...size);
      this.maps.set(k, {values, size, peak: values.reduce((a, b) => Math.max(a, b), 0)});
    }
    return this.maps.get(k);
  }

  // The map, its contour, the layers and the boxes of one finding, as `look` asks.
  draw(look, finding) {
    const k = this.about.findings.findIndex(f => f.name === finding), {point} = this.about.findings[k];
    const p = this.data.probabilities?.[k], y = this.data.labels?.[k], reached = p !== null && p >= point;
    const label = y === null ? "label not known" : y ? "labelled" : "not labelled";
    const number = p === null ? "no probability" : p.toFixed(3);
    const where = p === null ? "" : `${reached ? "at or above" : "below"} ${point.toFixed(3)}`;
    this.answer.replaceChildren(make("b", {textContent: `${plain(finding)} ${number}`}),
                                make("div", {textContent: [where, label].filter(Boolean).join(", ")}));
    this.image.alt = `${this.about.kind} ${this.data.name} with the map of ${plain(finding)}: ${number} ${where}, ${label}`;
    const map = this.film.hidden ? null : this.enlarged(k);
    this.scale.replaceChildren();
    this.map.hidden = !map || !look.map;
    if (!map) return;
    const [width, height] = map.size, {top, colours} = this.about;
    if (look.map) paint(this.map, map.values, width, height, {top, colours: bytes(colours), opacity: look.opacity});
    this.lines.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const found = this.scale.appendChild(draw("g", {class: reached ? "cam-found" : "cam-found cam-faint"}));
    const level = look.share*map.peak, add = (group, name, attributes) => group.appendChild(draw(name, attributes));
    if (look.contour && level) add(found, "path", {d: contour(map.values, width, height, level)});
    const packed = layer => (this.data[layer] ?? []).filter(([i]) => look[layer === "priors" ? "prior" : layer] && i === k);
    for (const [, mask] of packed("outlines")) {
      const bits = bytes(mask), inside = Float32Array.from({length: MASK*MASK}, (_, i) => bits[i >> 3] >> (7-(i & 7)) & 1);
      const scale = `scale(${width/MASK} ${height/MASK})`;
      add(this.scale, "path", {class: "cam-outline", d: contour(inside, MASK, MASK, .5), transform: scale});
    }
    for (const [, prior] of packed("priors")) {
      const usual = enlarge(Float32Array.from(bytes(prior)), [PRIOR, PRIOR], width, height);
      add(this.scale, "path", {class: "cam-prior", d: contour(usual, width, height, look.share*255)});
    }
    if (!look.boxes) return;
    for (const [x, y, w, h] of level ? boxesAbove(map.values, width, height, level) : [])
      add(found, "rect", {x, y, width: w, height: h});
    for (const [i, x, y, w, h] of this.data.truth) if (i === k)
      for (const style of ["cam-true cam-under", "cam-true"])
        add(this.scale, "rect", {class: style, x: x*width, y: y*height, width: w*width, height: h*height});
  }

  // As large as the pane allows, then enlarged and moved.
  place(zoom, x, y) {
    if (!this.data?.size) return;
    const [width, height] = this.data.size, fit = Math.min(this.frame.clientWidth/width, this.frame.clientHeight/height);
    this.film.style.setProperty("--zoom", zoom); // Lines keep their width
    Object.assign(this.film.style, {width: `${width*fit}px`, height: `${height*fit}px`,
      transform: `translate(-50%, -50%) translate(${x}px, ${y}px) scale(${zoom})`});
  }
}
