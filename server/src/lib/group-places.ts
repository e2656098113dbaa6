type Grouping<Item> = {
  keyOf: (item: Item) => string;
  /** Whether two items have the same key. Neighbours mostly have, and a comparison is cheaper than a key. */
  isSame: (a: Item, b: Item) => boolean;
};

/** Places of the items by key: groups in the order of their keys, places in the order of the list. */
export function groupPlaces<Item>(
  items: readonly Item[],
  { keyOf, isSame }: Grouping<Item>,
): number[][] {
  const groups = new Map<string, number[]>();
  let last: { item: Item; places: number[] } | null = null;
  for (const [place, item] of items.entries()) {
    if (last === null || !isSame(last.item, item)) {
      const key = keyOf(item);
      const places = groups.get(key) ?? [];
      groups.set(key, places);
      last = { item, places };
    }
    last.places.push(place);
  }
  return [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, places]) => places);
}
