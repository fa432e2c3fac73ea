// A map on its film: enlarged, painted, outlined, boxed. Nothing here knows a page; the same as `upscale`, `overlay` and
// `find_boxes` in Python, which a test compares.

// Bilinear with repeated edges, as torch's interpolate; a row-major array of width * height values.
function enlarge(heat, [rows, columns], width, height) {
  const axis = (n, size) => Array.from({length: size}, (_, i) => {
    const at = Math.min(n-1, Math.max(0, (i+.5)*n/size - .5)), low = Math.floor(at);
    return [low, Math.min(low+1, n-1), at-low];
  });
  const values = new Float32Array(width*height), xs = axis(columns, width);
  axis(rows, height).forEach(([top, bottom, v], y) => xs.forEach(([left, right, u], x) => {
    const above = heat[top*columns+left]*(1-u) + heat[top*columns+right]*u;
    const below = heat[bottom*columns+left]*(1-u) + heat[bottom*columns+right]*u;
    values[y*width+x] = above*(1-v) + below*v;
  }));
  return values;
}

// Colour and opacity both begin at nothing and end at `top`; `colours` has three bytes for each of 256 steps.
function paint(canvas, values, width, height, {top, colours, opacity}) {
  [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height), pixels = picture.data;
  values.forEach((value, i) => {
    const step = Math.floor(255*Math.min(1, Math.max(0, value/top)));
    for (let c = 0; c < 3; c++) pixels[4*i+c] = colours[3*step+c];
    pixels[4*i+3] = Math.round(step*opacity);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// The line where the map crosses `level`, as an SVG path in pixels (marching squares).
function contour(values, width, height, level) {
  const path = [];
  for (let y = 0; y < height-1; y++) for (let x = 0; x < width-1; x++) {
    const i = y*width+x, corners = [values[i], values[i+1], values[i+width+1], values[i+width]];
    const inside = corners.map(v => v >= level);
    if (inside.every(Boolean) || !inside.some(Boolean)) continue;
    const points = [];
    [[0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 0, 0]].forEach(([x0, y0, x1, y1], k) => {
      const a = corners[k], b = corners[(k+1)%4], t = (level-a)/(b-a);
      if (inside[k] !== inside[(k+1)%4]) points.push(`${(x+.5+x0+t*(x1-x0)).toFixed(1)} ${(y+.5+y0+t*(y1-y0)).toFixed(1)}`);
    });
    for (let k = 0; k < points.length; k += 2) path.push(`M${points[k]}L${points[k+1]}`);
  }
  return path.join("");
}

// Boxes [x, y, width, height] in pixels around the connected parts at or above `level`; 8 neighbours count.
function boxesAbove(values, width, height, level) {
  const seen = new Uint8Array(width*height), boxes = [];
  for (let start = 0; start < values.length; start++) {
    if (seen[start] || values[start] < level) continue;
    let [left, right, top, bottom] = [width, 0, height, 0], part = [start];
    seen[start] = 1;
    while (part.length) {
      const i = part.pop(), x = i % width, y = (i-x)/width;
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      for (let v = Math.max(y-1, 0); v <= Math.min(y+1, height-1); v++)
        for (let u = Math.max(x-1, 0); u <= Math.min(x+1, width-1); u++)
          if (!seen[v*width+u] && values[v*width+u] >= level) { seen[v*width+u] = 1; part.push(v*width+u); }
    }
    boxes.push([left, top, right-left+1, bottom-top+1]);
  }
  return boxes;
}
