/**
 * A value that is often there already. An `await` costs a turn of the microtask queue also then, which for a
 * request that is answered from memory is a good part of its work.
 */
export type Promised<T> = T | Promise<T>;

/** `use` of the value: at once when it is there, else when it comes. */
export function whenThere<T, Result>(
  value: Promised<T>,
  use: (value: T) => Result,
): Result | Promise<Awaited<Result>> {
  return value instanceof Promise ? (value.then(use) as Promise<Awaited<Result>>) : use(value);
}
