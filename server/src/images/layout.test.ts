import assert from "node:assert/strict";
import { test } from "node:test";

import type { Box } from "./canvas.ts";
import { arrangeTiles, layOut } from "./layout.ts";

const walls: Box[] = [
  { left: 10, top: 20, width: 900, height: 400 },
  { left: 10, top: 10, width: 170, height: 900 },
  { left: 80, top: 80, width: 12_000, height: 600 },
  { left: 5, top: 5, width: 300, height: 300 },
];

test("tiles are square, stay on their wall and never overlap", () => {
  for (const wall of walls) {
    for (let count = 1; count <= 16; count++) {
      const tiles = arrangeTiles(wall, count, 300);
      assert.equal(tiles.length, count);
      for (const [index, tile] of tiles.entries()) {
        assert.equal(tile.width, tile.height);
        assert.ok(tile.width >= 20 && tile.width <= 300, `${count} tiles of ${tile.width}`);
        assert.ok(tile.left >= wall.left && tile.top >= wall.top);
        assert.ok(tile.left + tile.width <= wall.left + wall.width + 1);
        assert.ok(tile.top + tile.height <= wall.top + wall.height + 1);
        for (const other of tiles.slice(index + 1)) assert.ok(!overlap(tile, other));
      }
    }
  }
});

test("a wall without room has no tiles", () => {
  assert.deepEqual(arrangeTiles({ left: 0, top: 0, width: 100, height: -4 }, 3, 50), []);
  assert.deepEqual(arrangeTiles({ left: 0, top: 0, width: 100, height: 100 }, 0, 50), []);
});

test("the card leaves a margin, and the title is never smaller than the caption", () => {
  for (const [width, height] of [
    [512, 512],
    [192, 1_536],
    [1_536, 192],
    [12_288, 1_536],
    [6_336, 2_688],
  ] as const) {
    const layout = layOut(width, height);
    assert.ok(layout.cardWidthMax <= width - 2 * layout.margin);
    assert.ok(layout.cardHeightMax <= height - 2 * layout.margin);
    assert.deepEqual(
      layout.titleSizes,
      layout.titleSizes.toSorted((a, b) => b - a),
    );
    assert.ok(Math.min(...layout.titleSizes) >= layout.captionSize);
    assert.ok(layout.captionSize >= 10);
  }
});

function overlap(one: Box, other: Box): boolean {
  return (
    one.left < other.left + other.width &&
    other.left < one.left + one.width &&
    one.top < other.top + other.height &&
    other.top < one.top + one.height
  );
}
