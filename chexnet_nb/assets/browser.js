// Arrow keys pressed anywhere inside the enclosing .cam-browser, counted; a click inside it takes the focus there.
const moves = {ArrowRight: ["across", 1], ArrowLeft: ["across", -1], ArrowDown: ["down", 1], ArrowUp: ["down", -1]};

function render({model, el}) {
  let box = null, pointer = false;
  const toBox = () => box.focus({preventScroll: true});
  const onKey = event => {
    pointer = false;
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, textarea, select, .noUi-handle")) return;
    event.preventDefault();
    event.stopPropagation();
    model.set(move[0], model.get(move[0]) + move[1]);
    model.save_changes();
  };
  const onPointer = () => { pointer = true; };
  const onClick = () => { if (!box.contains(document.activeElement)) toBox(); };
  const onChange = event => { if (pointer && event.target.matches("select, input[type=checkbox]")) toBox(); };
  const listeners = [["keydown", onKey], ["pointerdown", onPointer], ["click", onClick], ["change", onChange]];
  let waiting = requestAnimationFrame(function attach() {
    box = el.closest(".cam-browser");
    if (!box) { waiting = requestAnimationFrame(attach); return; }
    box.tabIndex = 0;
    box.setAttribute("data-lm-suppress-shortcuts", "true");
    listeners.forEach(([name, f]) => box.addEventListener(name, f));
  });
  return () => {
    cancelAnimationFrame(waiting);
    if (box) listeners.forEach(([name, f]) => box.removeEventListener(name, f));
  };
}

export default {render};
