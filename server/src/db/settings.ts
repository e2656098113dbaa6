import type { Handle, Tx } from "./database.ts";

/** A value the database keeps about itself, such as the fingerprint of the secret; null when never saved. */
export async function findSetting(handle: Handle, name: string): Promise<string | null> {
  const row = await handle
    .selectFrom("settings")
    .select("value")
    .where("name", "=", name)
    .executeTakeFirst();
  return row?.value ?? null;
}

/** Saves a setting unless there is one; returns what is saved then, by whomever. */
export async function keepSetting(tx: Tx, name: string, value: string): Promise<string> {
  await tx
    .insertInto("settings")
    .values({ name, value })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  return (await findSetting(tx, name)) ?? value;
}

/** Saves a setting in place of its earlier value. */
export async function saveSetting(tx: Tx, name: string, value: string): Promise<void> {
  await tx
    .insertInto("settings")
    .values({ name, value })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ value }))
    .execute();
}
