// Keys pressed anywhere inside the enclosing .cam-browser, counted; a click inside it takes the focus there. Zoom is the page's own.
const moves = {ArrowRight: ["across", 1], ArrowLeft: ["across", -1], ArrowDown: ["down", 1], ArrowUp: ["down", -1],
               o: ["overlay", 1], b: ["boxes", 1]};
const zooms = {"+": z => z*1.5, "=": z => z*1.5, "-": z => z/1.5, 0: () => 1};

function render({model, el}) {
  let box = null, pointer = false, dragged = null, zoom = 1, x = 0, y = 0;
  const toBox = () => box.focus({preventScroll: true});
  const picture = () => box.querySelector("img.cam-picture");
  const place = () => {
    const image = picture(), rx = image.offsetWidth*(zoom-1), ry = image.offsetHeight*(zoom-1);
    x = Math.min(0, Math.max(-rx, x));
    y = Math.min(0, Math.max(-ry, y));
    image.style.transform = zoom === 1 ? "" : `translate(${x}px, ${y}px) scale(${zoom})`;
    image.style.cursor = zoom === 1 ? "zoom-in" : "grab";
  };
  const zoomTo = (to, px, py) => {
    to = Math.min(8, Math.max(1, to));
    x = px - (px - x)*to/zoom;
    y = py - (py - y)*to/zoom;
    zoom = to;
    place();
    if (model.get("near") !== zoom > 1) {
      model.set("near", zoom > 1);
      model.save_changes();
    }
  };
  const onKey = event => {
    pointer = false;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, textarea, select, .noUi-handle")) return;
    const move = moves[event.key], change = zooms[event.key];
    if (event.key === "/") box.querySelector(".cam-jump input").focus();
    else if (change) zoomTo(change(zoom), picture().offsetWidth/2, picture().offsetHeight/2);
    else if (move) {
      model.set(move[0], model.get(move[0]) + move[1]);
      model.save_changes();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const onPointer = event => {
    pointer = true;
    if (zoom > 1 && event.target === picture()) dragged = [event.clientX - x, event.clientY - y];
  };
  const onMove = event => { if (dragged) { [x, y] = [event.clientX - dragged[0], event.clientY - dragged[1]]; place(); } };
  const onUp = () => { dragged = null; };
  const onDouble = event => {
    if (event.target !== picture()) return;
    const frame = picture().parentElement.getBoundingClientRect();
    zoomTo(zoom > 1 ? 1 : 2.5, event.clientX - frame.left, event.clientY - frame.top);
  };
  const onDrag = event => { if (event.target === picture()) event.preventDefault(); };
  const onClick = () => { if (!box.contains(document.activeElement)) toBox(); };
  const onChange = event => { if (pointer && event.target.matches("select, input[type=checkbox]")) toBox(); };
  const describe = () => {
    if (!box) return;
    if (picture()) picture().alt = model.get("alt");
    box.querySelectorAll("img:not(.cam-picture)").forEach(image => { image.alt = "an image of the same patient"; });
    box.querySelectorAll("button[title]").forEach(button => button.setAttribute("aria-label", button.title));
  };
  const listeners = [["keydown", onKey], ["pointerdown", onPointer], ["pointermove", onMove], ["pointerup", onUp],
                     ["dblclick", onDouble], ["dragstart", onDrag], ["click", onClick], ["change", onChange]];
  let waiting = requestAnimationFrame(function attach() {
    box = el.closest(".cam-browser");
    if (!box) { waiting = requestAnimationFrame(attach); return; }
    box.tabIndex = 0;
    box.setAttribute("data-lm-suppress-shortcuts", "true");
    listeners.forEach(([name, f]) => box.addEventListener(name, f));
    describe();
  });
  model.on("change:alt", describe);
  return () => {
    cancelAnimationFrame(waiting);
    model.off("change:alt", describe);
    if (box) listeners.forEach(([name, f]) => box.removeEventListener(name, f));
  };
}

export default {render};
