// The viewer of class activation maps, after maps.js and film.js. Python (or an exported page) sends films; window, zoom, map and boxes are
// drawn here, so that none of them waits for a kernel.
const MAX_ZOOM = 12;
const SELECTS = ["split", "finding", "show", "sort"]; // What the films and their order depend on
const LAYERS = [["l", "outlines", "white line, what radiologists outlined"], // Key, name in `look`, text
                ["u", "prior", "yellow, where it usually lies in other patients"]];

class Viewer {
  constructor(model) {
    Object.assign(this, {model, about: model.get("about"), waiting: 0, zoom: 1, x: 0, y: 0, preset: "full", inverted: false});
    this.pointers = new Map();
    this.root = make("div", {className: "cam-browser", tabIndex: 0, "data-lm-suppress-shortcuts": "true",
                             role: "application", "aria-label": "Radiographs with class activation maps"});
    this.message = make("div", {className: "cam-message", role: "status"});
    this.page = !!this.about.page;
    if (this.about.findings) this.build(); else this.root.append(this.message);
    const shown = {message: "tell", progress: "countFilms", count: "countFilms", film: "showFilm", earlier: "showEarlier",
                   finding: "refresh", look: "refresh", ordered: "stepOn"};
    const works = Object.entries(this.about.findings ? shown : {message: "tell"});
    this.events = [["msg:custom", (content, buffers) => this.receive(content, buffers)],
                   ...works.map(([name, work]) => [`change:${name}`, () => this[work]()])];
    this.events.forEach(([name, work]) => model.on(name, work));
    this.tell();
  }

  set(name, value) {
    this.model.set(name, value);
    if (!this.page && SELECTS.includes(name)) this.model.set("turn", this.model.get("turn")+1);
    this.model.save_changes();
  }

  get look() { return this.model.get("look"); }

  get layers() { return LAYERS.filter(([, name]) => this.about.layers?.includes(name)); }

  // Toolbar, stage and panel, made once.
  build() {
    this.panes = [new Pane(this.about), new Pane(this.about)];
    this.panes[1].node.hidden = true;
    this.grey = make("div", {className: "cam-corner cam-grey"});
    const tags = this.about.tags.map(textContent => make("span", {className: "cam-tag", textContent}));
    this.keys = make("div", {className: "cam-keys", hidden: true, role: "dialog", "aria-label": "Keys"}, this.listKeys());
    this.films = make("div", {className: "cam-films"}, ...this.panes.map(pane => pane.node));
    const corner = make("div", {className: "cam-corner cam-tags"}, ...tags);
    this.stage = make("div", {className: "cam-stage"}, this.films, this.grey, corner, this.message, this.keys);
    this.id = `cam-${Math.random().toString(36).slice(2)}`;
    this.filter = draw("svg", {class: "cam-filter", "aria-hidden": "true"});
    const window = this.filter.appendChild(draw("filter", {id: this.id, "color-interpolation-filters": "sRGB"}));
    window.appendChild(draw("feComponentTransfer")).append(...["R", "G", "B"].map(c => draw(`feFunc${c}`, {type: "linear"})));
    this.root.append(this.toolbar(), this.stage, this.panel(), this.filter);
    this.listen();
    this.showFilm();
  }

  toolbar() {
    const {choices, findings} = this.about, bar = make("div", {className: "cam-bar", role: "toolbar"});
    const choose = (name, options, title) => {
      const select = make("select", {title, "aria-label": title, className: name === "finding" ? "" : "cam-choice"});
      select.append(...options.map(([label, value]) => new Option(label, value)));
      const read = () => { select.value = this.model.get(name); };
      select.onchange = () => this.set(name, select.value);
      this.model.on(`change:${name}`, read);
      read();
      return select;
    };
    const button = (text, title, work) => make("button", {type: "button", textContent: text, title, onclick: work,
                                                          "aria-label": text.length > 1 ? text : title});
    this.toggles = {};
    const toggle = (name, text, title) => this.toggles[name] = button(text, title, () => this.toggle(name));
    this.place = make("input", {className: "cam-jump", title: "a number, or part of a name (/)", "aria-label": "film"});
    this.place.onfocus = () => { this.place.value = ""; this.place.placeholder = "number or name"; };
    this.place.onblur = () => this.countFilms();
    this.place.onchange = () => { if (this.place.value.trim()) this.find(this.place.value.trim()); this.root.focus(); };
    this.window = make("select", {title: "window (1 to 4; right drag)", "aria-label": "Window"},
      ...Object.keys(PRESETS).map(name => new Option(`window: ${name}`, name)), new Option("window: by hand", "by hand"));
    this.window.onchange = () => this.choosePreset(this.window.value);
    const same = options => options.map(c => [c, c]);
    if (!this.page) bar.append(choose("split", choices.split, "images"), choose("show", same(choices.show), "which of them"),
                               choose("sort", same(choices.sort), "order"));
    bar.append(choose("finding", findings.map(f => [plain(f.name), f.name]), "finding (up, down)"),
      make("span", {className: "cam-group"}, button("‹", "previous film (left key)", () => this.step(-1)), this.place,
           button("›", "next film (right key)", () => this.step(1))),
      this.window, toggle("inverted", "invert", "black and white exchanged (i)"), toggle("map", "map", "map (o)"),
      toggle("contour", "contour", "contour of the map (c)"), toggle("boxes", "boxes", "boxes (b)"),
      ...this.layers.map(([key, name, text]) => toggle(name, name, `${text} (${key})`)),
      toggle("side_by_side", "earlier", "the same patient's earlier film beside it (p)"),
      button("reset", "window and zoom as at first (r)", () => this.reset()),
      button("full screen", "full screen (f)", () => this.fullScreen()), button("?", "keys (?)", () => this.toggleKeys()));
    return bar;
  }

  panel() {
    this.bars = make("div", {className: "cam-bars"});
    this.strip = make("div", {className: "cam-strip"});
    const slider = (name, label, min, max) => {
      const input = make("input", {type: "range", min, max, step: .01, value: this.look[name], "aria-label": label});
      input.oninput = () => { this.model.set("look", {...this.look, [name]: +input.value}); this.refresh(); };
      input.onchange = () => this.model.save_changes();
      return make("label", {className: "cam-slider"}, label, input);
    };
    const {colours, top, notes} = this.about, shades = bytes(colours), stop = i => `rgb(${shades.slice(3*i, 3*i+3).join()})`;
    const ramp = make("span", {className: "cam-ramp"});
    ramp.style.background = `linear-gradient(90deg, ${[0, 32, 64, 96, 128, 160, 192, 224, 255].map(stop).join()})`;
    const soft = (...texts) => make("div", {className: "cam-soft"}, ...texts);
    const legend = soft("evidence, logits above usual: 0", ramp, top.toFixed(1));
    this.note = make("textarea", {rows: 2, placeholder: "a note on this film", "aria-label": "Note on this film"});
    this.note.onchange = () => this.ask("write_note", {name: this.film.name, text: this.note.value});
    const save = make("button", {type: "button", textContent: "save picture", title: "as PNG with caption and scale (e)",
                                 onclick: () => this.save()});
    this.same = soft("the same patient");
    return make("div", {className: "cam-panel"}, this.bars, soft("● labelled   | operating point   orange: at or above it"),
      slider("opacity", "map", 0, 1), slider("share", "contour and boxes", .1, .95), legend,
      soft("boxes: cyan from the map, faint below the operating point; dashed white true"),
      ...this.layers.map(([, name, text]) => soft(`${name}: ${text}`)), ...notes.map(text => soft(text)),
      this.same, this.strip, ...this.page ? [] : [this.note, save]);
  }

  // What is shown

  get film() { return this.model.get("film"); }

  async showFilm() {
    const film = this.film, none = "no film to show; choose other images, or show all";
    this.countFilms();
    if (!await this.panes[0].show(film.name ? film : {reason: none})) return;
    this.root.classList.toggle("cam-empty", !film.name);
    this.note.value = film.note ?? "";
    this.fit();
    this.refresh();
  }

  async showEarlier() {
    const film = this.model.get("earlier"), [, pane] = this.panes;
    pane.node.hidden = !this.model.get("side_by_side");
    if (!pane.node.hidden && !await pane.show(film.name ? film : {reason: "no earlier film of this patient"})) return;
    this.fit();
    this.refresh();
  }

  refresh() { // Everything that follows from finding, look, window and zoom
    if (!this.panes[0].data?.name) return;
    const finding = this.model.get("finding"), asked = this.model.get("side_by_side");
    if (this.preset !== "by hand") this.levels = this.panes[0].preset(this.preset);
    for (const pane of this.panes) if (pane.data?.name && !pane.node.hidden) pane.draw(this.look, finding);
    const on = {...this.look, inverted: this.inverted, side_by_side: asked};
    for (const [name, button] of Object.entries(this.toggles)) button.setAttribute("aria-pressed", on[name]);
    this.refreshPanel();
    this.applyWindow();
  }

  refreshPanel() {
    const {probabilities, labels, patient} = this.film, finding = this.model.get("finding");
    this.bars.replaceChildren(...this.about.findings.map(({name, point}, k) => {
      const p = probabilities[k], fill = make("span", {className: p >= point ? "cam-fill cam-called" : "cam-fill"});
      fill.style.width = `${100*(p ?? 0)}%`;
      const tick = make("span", {className: "cam-point"});
      tick.style.left = `${100*point}%`;
      return make("button", {type: "button", className: name === finding ? "cam-row cam-now" : "cam-row", title: plain(name),
                             onclick: () => this.set("finding", name)},
        make("span", {className: "cam-label", textContent: plain(name)}), make("span", {className: "cam-track"}, fill, tick),
        make("span", {className: "cam-number", textContent: p === null ? "–" : p.toFixed(2)}),
        make("span", {textContent: labels[k] === null ? "?" : labels[k] ? "●" : " "}));
    }));
    const k = this.about.findings.findIndex(f => f.name === finding);
    if (this.strip.film !== this.film) {
      this.strip.querySelectorAll("img").forEach(image => URL.revokeObjectURL(image.src));
      this.strip.replaceChildren(...patient.map(({name, thumb}) => make("button",
        {type: "button", title: name, className: name === this.film.name ? "cam-here" : "", onclick: () => this.go(name)},
        make("img", {alt: "", src: URL.createObjectURL(new Blob([thumb], {type: "image/jpeg"}))}), make("span"))));
      this.strip.film = this.film;
    }
    patient.forEach(({number, probabilities: p, labels: y}, i) => {
      const said = [number, p[k]?.toFixed(2) ?? "", y[k] ? "●" : ""].filter(Boolean);
      this.strip.children[i].lastChild.textContent = said.join(" ");
    });
    this.same.hidden = this.strip.hidden = patient.length < 2;
  }

  countFilms() {
    const count = this.model.get("count");
    if (document.activeElement !== this.place) this.place.value = `${count ? this.model.get("position") : 0} of ${count}`;
    this.stage.dataset.progress = this.model.get("progress") ?? "";
  }

  tell(text, seconds) { // What Python says, or what is said here
    const {text: said, error, file, data} = text ? {text} : this.model.get("message") ?? {};
    this.message.replaceChildren(said ?? "");
    this.message.classList.toggle("cam-error", !!error);
    if (data) this.message.append(" ", make("a", {download: file, textContent: "download",
                                                  href: URL.createObjectURL(new Blob([data], {type: "image/png"}))}));
    clearTimeout(this.fading);
    if (seconds) this.fading = setTimeout(() => this.message.replaceChildren(), 1000*seconds);
  }

  // What is asked of Python

  ask(what, content = {}) { this.model.send({do: what, ...content}); }
  save() { // As it is seen; a window from white to black is inverted
    const [low, high] = this.levels.map(Math.round);
    this.ask("save", {...this.look, window: this.inverted ? [high, low] : [low, high]});
  }

  find(text) { this.ask("find", {text}); }
  go(name) { this.ask("go", {name}); }

  receive(content, [jpeg]) { // Every pixel of the current film
    const [pane] = this.panes;
    if (content.enlarged === pane.data.name) pane.decode(jpeg).then(source => pane.replace(source));
  }

  // Each selection has its own order of films: a step waits until the kernel has ordered them.
  step(by) {
    if (this.model.get("ordered") !== this.model.get("turn")) { this.waiting += by; return; }
    const to = clamp(this.model.get("position")+by, 1, this.model.get("count"));
    if (to === this.model.get("position")) return this.tell(by > 0 ? "the last film" : "the first film", 2);
    this.set("position", to);
    this.countFilms();
  }

  stepOn() {
    const by = this.waiting || 0; // From first to last and back is not a number
    this.waiting = 0;
    if (by) this.step(by);
  }

  changeFinding(by) {
    const names = this.about.findings.map(f => f.name), n = names.length;
    this.set("finding", names[(names.indexOf(this.model.get("finding"))+by+n) % n]);
  }

  toggle(name) {
    if (name === "inverted") this.inverted = !this.inverted;
    else if (name === "side_by_side") { this.set(name, !this.model.get(name)); this.showEarlier(); }
    else this.set("look", {...this.look, [name]: !this.look[name]});
    this.refresh();
  }

  // Window and zoom

  choosePreset(name) {
    if (name in PRESETS) this.preset = name;
    this.refresh();
  }

  applyWindow() {
    const [low, high] = this.levels ?? [0, 255], span = Math.max(high-low, 1), sign = this.inverted ? -1 : 1;
    const slope = sign*255/span, intercept = this.inverted ? high/span : -low/span;
    this.filter.querySelectorAll("feComponentTransfer > *").forEach(f => {
      f.setAttribute("slope", slope);
      f.setAttribute("intercept", intercept);
    });
    const same = slope === 1 && !intercept;
    for (const pane of this.panes) pane.image.style.filter = same ? "" : `url(#${this.id})`;
    this.window.value = this.preset;
    this.grey.textContent = `centre ${Math.round((low+high)/2)}, width ${Math.round(span)}   zoom ${this.zoom.toFixed(1)}`;
  }

  dragWindow(dx, dy) {
    const [low, high] = this.levels ?? [0, 255], width = clamp(high-low+dx, 2, 510), centre = clamp((low+high)/2+dy, 0, 255);
    [this.preset, this.levels] = ["by hand", [centre-width/2, centre+width/2]];
    this.applyWindow();
  }

  zoomTo(to, px = 0, py = 0) { // Around a point, in pixels from the pane's middle
    to = clamp(to, 1, MAX_ZOOM);
    [this.x, this.y, this.zoom] = [px-(px-this.x)*to/this.zoom, py-(py-this.y)*to/this.zoom, to];
    this.placeFilms();
    if (to > 1 && this.film.more && this.asked !== this.film) {
      this.asked = this.film;
      this.ask("enlarge", {name: this.film.name});
    }
  }

  placeFilms() {
    const {film} = this.panes[0], [rx, ry] = [film.offsetWidth, film.offsetHeight].map(n => this.zoom > 1 ? n*this.zoom/2 : 0);
    [this.x, this.y] = [clamp(this.x, -rx, rx), clamp(this.y, -ry, ry)]; // Some of the film is always at the middle
    for (const pane of this.panes) pane.place(this.zoom, this.x, this.y);
    this.stage.classList.toggle("cam-zoomed", this.zoom > 1);
    this.applyWindow();
  }

  reset() {
    Object.assign(this, {zoom: 1, x: 0, y: 0, preset: "full", inverted: false});
    this.choosePreset("full");
    this.placeFilms();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen(); else this.root.requestFullscreen?.();
  }

  fit() { // The picture as high as the window allows
    const lab = this.root.closest(".jp-WindowedPanel-outer, .jp-NotebookPanel-notebook");
    const room = document.fullscreenElement === this.root || !lab ? innerHeight : lab.clientHeight-24;
    this.root.style.setProperty("--cam-room", `${Math.max(room, 360)}px`);
    this.root.classList.toggle("cam-narrow", this.root.clientWidth < 720);
    const [width, height] = this.film.size ?? [1, 1];
    const narrow = Math.min(this.root.clientWidth*height/width, .75*innerHeight);
    this.root.style.setProperty("--cam-high", `${narrow}px`);
    this.placeFilms();
  }

  // Keys and pointers

  get bindings() { // Keys, what the list calls them and says of them, what each does
    const presets = Object.keys(PRESETS), toggle = (key, name, text) => [[key], key, text, () => this.toggle(name)];
    return [[["ArrowLeft", "ArrowRight"], "← →", "previous, next film", i => this.step([-1, 1][i])],
      [["ArrowUp", "ArrowDown"], "↑ ↓", "previous, next finding", i => this.changeFinding([-1, 1][i])],
      [["PageUp", "PageDown"], "page ↑ ↓", "ten films back, on", i => this.step([-10, 10][i])],
      [["Home", "End"], "home, end", "first, last film", i => this.step([-Infinity, Infinity][i])],
      [["/"], "/", "go to a number, or part of a name", () => this.place.focus()],
      [["+", "-", "0", "="], "+ − 0", "zoom in, out, whole film", i => this.zoomTo([this.zoom*1.5, this.zoom/1.5, 1, this.zoom*1.5][i])],
      [presets.map((_, i) => `${i+1}`), presets.map((_, i) => i+1).join(" "), `window: ${presets.join(", ")}`,
       i => this.choosePreset(presets[i])],
      toggle("i", "inverted", "invert"), toggle("o", "map", "map"), toggle("c", "contour", "contour"), toggle("b", "boxes", "boxes"),
      ...this.layers.map(layer => toggle(...layer)),
      toggle("p", "side_by_side", "the same patient's earlier film beside it"),
      [["r"], "r", "window and zoom as at first", () => this.reset()], [["f"], "f", "full screen", () => this.fullScreen()],
      ...this.page ? [] : [[["e"], "e", "save the picture as PNG", () => this.save()], [["n"], "n", "note", () => this.note.focus()]],
      [["?", "Escape"], "?", "these keys", i => this.toggleKeys([undefined, true][i])]];
  }

  listKeys() {
    const mouse = {"wheel, pinch": "zoom", "left or middle drag": "move the zoomed film", "double click": "zoom in there, or back",
                   "right drag": "window: across its width, along its centre"};
    const rows = [...this.bindings.map(([, shown, text]) => [shown, text]), ...Object.entries(mouse)];
    return make("table", {}, ...rows.map(([key, text]) =>
      make("tr", {}, make("th", {textContent: key, scope: "row"}), make("td", {textContent: text}))));
  }

  toggleKeys(hide = !this.keys.hidden) { this.keys.hidden = hide; }

  listen() {
    const {root, stage} = this, bindings = new Map();
    for (const [keys, , , work] of this.bindings) keys.forEach((key, i) => bindings.set(key, () => work(i)));
    const toRoot = () => root.focus({preventScroll: true});
    root.addEventListener("keydown", event => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const typing = event.target.closest("input:not([type=range]), textarea");
      if (typing && event.key === "Escape") toRoot();
      if (typing || event.target.closest("select, input")) return event.stopPropagation();
      const work = bindings.get(event.key);
      if (!work) return;
      work();
      event.preventDefault();
      event.stopPropagation();
    });
    root.addEventListener("click", event => { if (!event.target.closest("input, textarea, select, a")) toRoot(); });
    root.addEventListener("change", event => { if (event.target.matches("select")) toRoot(); });
    stage.addEventListener("wheel", event => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoomTo(this.zoom*Math.exp(-clamp(event.deltaY*lines, -200, 200)*.002), ...this.spot(event));
    }, {passive: false});
    stage.addEventListener("contextmenu", event => { event.preventDefault(); event.stopPropagation(); });
    stage.addEventListener("dblclick", event => this.zoomTo(this.zoom > 1 ? 1 : 2.5, ...this.spot(event)));
    const pointing = {pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.up};
    for (const [name, work] of Object.entries(pointing)) stage.addEventListener(name, work.bind(this));
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(root);
    this.watch.observe(stage);
    this.onResize = () => this.fit();
    addEventListener("resize", this.onResize);
  }

  // Where an event is, in pixels from the middle of its pane.
  spot({clientX, clientY}) {
    const beside = this.panes[1].frame.getBoundingClientRect(), first = this.panes[0].frame.getBoundingClientRect();
    const box = beside.width && clientX >= beside.left ? beside : first;
    return [clientX-box.left-box.width/2, clientY-box.top-box.height/2];
  }

  down(event) {
    if (event.target.closest("a, .cam-keys")) return;
    if (event.button === 1) event.preventDefault(); // No scrolling by the middle button
    this.root.focus({preventScroll: true});
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, {x: event.clientX, y: event.clientY, from: event.clientX, button: event.button});
  }

  move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    const [dx, dy] = [event.clientX-pointer.x, event.clientY-pointer.y];
    const others = [...this.pointers.values()].filter(p => p !== pointer);
    if (others.length) { // Two fingers
      const reach = (x, y) => Math.hypot(x-others[0].x, y-others[0].y);
      this.zoomTo(this.zoom*reach(event.clientX, event.clientY)/Math.max(1, reach(pointer.x, pointer.y)), ...this.spot(event));
    } else if (pointer.button === 2) this.dragWindow(dx, dy);
    else if (this.zoom > 1) { [this.x, this.y] = [this.x+dx, this.y+dy]; this.placeFilms(); }
    [pointer.x, pointer.y] = [event.clientX, event.clientY];
  }

  up(event) {
    const pointer = this.pointers.get(event.pointerId), across = event.clientX-(pointer?.from ?? event.clientX);
    this.pointers.delete(event.pointerId);
    if (event.pointerType === "touch" && this.zoom === 1 && Math.abs(across) > 60) this.step(across < 0 ? 1 : -1);
  }

  close() {
    this.watch?.disconnect();
    removeEventListener("resize", this.onResize);
    this.events.forEach(([name, work]) => this.model.off(name, work));
  }
}

function render({model, el}) {
  const viewer = new Viewer(model);
  el.append(viewer.root);
  if (document.activeElement === document.body) viewer.root.focus({preventScroll: true}); // A page of its own needs no click
  return () => viewer.close();
}

export default {render};
