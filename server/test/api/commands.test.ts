/** The operator's command line, beside a running server: output, effects and exit codes. */
import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { refusalOf } from "../support/client.ts";
import { parseOnly, runCommand, runJson } from "../support/gateway-process.ts";

type Account = {
  id: string;
  name: string;
  ratio: number;
  balance: number;
  held: number;
  created: number;
};
type Key = { id: string; name: string; mode: string; [setting: string]: unknown };
type Price = { model: string; row: string; price?: number; list_price?: number; source: string };
type Doctor = {
  ok: boolean;
  checks: { check: string; state: string; detail: string }[];
  ledger: { ok: boolean; accounts: number; entries: number };
};

let gateway: Gateway;

before(async () => {
  gateway = await startGateway();
});

after(() => gateway.stop());

describe("with --json each command prints exactly one object:", () => {
  test("accounts create, list and set", async () => {
    const made = await run<Account>("accounts", "create", "studio");
    assert.match(made.id, /^acc_/);
    assert.deepEqual([made.name, made.ratio], ["studio", 1]);
    const set = await run<Account>("accounts", "set", "studio", "--ratio", "0.8");
    assert.deepEqual([set.id, set.ratio], [made.id, 0.8]);
    const { accounts } = await run<{ accounts: Account[] }>("accounts", "list");
    assert.deepEqual(
      accounts.map(({ name, ratio, balance, held }) => ({ name, ratio, balance, held })),
      [
        { name: "default", ratio: 1, balance: 0, held: 0 },
        { name: "studio", ratio: 0.8, balance: 0, held: 0 },
      ],
    );
  });

  test("accounts set sets, changes and lifts the limits of an account, each by itself", async () => {
    await run("accounts", "create", "limited");
    const limits = "--rpm 600 --tasks-in-flight 20 --spend-per-day 12.5".split(" ");
    const set = await run<Account>("accounts", "set", "limited", ...limits);
    const { id, created, ...settings } = set;
    assert.match(id, /^acc_/);
    assert.ok(created > 0);
    assert.deepEqual(settings, {
      name: "limited",
      ratio: 1,
      requests_per_minute: 600,
      tasks_in_flight: 20,
      spend_per_day: 12.5,
    });
    const lifted = await run<Account>("accounts", "set", "limited", "--rpm", "none");
    const { requests_per_minute: _lifted, ...rest } = set as Account & {
      requests_per_minute?: number;
    };
    assert.deepEqual(lifted, rest);
  });

  test("keys create with every limit, list and revoke", async () => {
    const limits = "--cap 2.5 --models flux-2-pro,flux-2-flex --ips 127.0.0.1,10.0.0.0/8";
    const rates = "--rpm 60 --tasks-in-flight 5 --spend-per-day 9.5 --expires 2100-01-31";
    const words = `keys create --account default --mode test --name limited ${limits} ${rates}`;
    const made = await run<Key & { key: string; account: string }>(...words.split(" "));
    const { id, key, account, created, hint, ...settings } = made;
    assert.match(id, /^key_/);
    assert.match(key, /^sk-test-[A-Za-z0-9]{43}$/);
    assert.equal(account, "default");
    assert.equal(hint, key.slice(-4));
    assert.deepEqual(settings, {
      name: "limited",
      mode: "test",
      cap: 2.5,
      models: ["flux-2-pro", "flux-2-flex"],
      ips: ["127.0.0.1", "10.0.0.0/8"],
      requests_per_minute: 60,
      tasks_in_flight: 5,
      spend_per_day: 9.5,
      expires_at: Date.UTC(2100, 0, 31) / 1_000,
      used: 0,
      held: 0,
    });
    const caller = gateway.clientOf(key);
    await caller.run({ model: "flux-2-pro", prompt: "fox" });
    assert.equal((await caller.refuse({ model: "flux-kontext-pro", prompt: "fox" })).status, 403);

    const listed = await run<{ account: string; keys: Key[] }>("keys", "list");
    const row = listed.keys.find((one) => one.id === id);
    assert.deepEqual(row, { id, created, hint, ...settings, used: 0.045 });
    assert.ok(!JSON.stringify(listed).includes(key));

    assert.deepEqual(await run("keys", "revoke", id), { id, revoked: true });
    assert.deepEqual(await run("keys", "revoke", id), { id, revoked: true });
    const again = await run<{ keys: Key[] }>("keys", "list", "--account", "default");
    const revoked = again.keys.find((one) => one.id === id);
    assert.equal(typeof revoked?.["revoked_at"], "number");
  });

  test("a key that expires in seconds", async () => {
    const { expires_at: expiresAt } = await run<{ expires_at: number }>(
      ..."keys create --mode live --name short --expires 3600".split(" "),
    );
    const left = expiresAt - Date.now() / 1_000;
    assert.ok(left > 3_500 && left <= 3_600, `${left}`);
  });

  test("accounts credit", async () => {
    await run("accounts", "create", "shop");
    const credited = await run<Record<string, unknown>>(
      ..."accounts credit shop 0.000001 --note micro --reference inv-1".split(" "),
    );
    const { id, ...rest } = credited;
    assert.match(String(id), /^acc_/);
    const expected = { name: "shop", credited: true, amount: 0.000001, balance: 0.000001 };
    assert.deepEqual(rest, { ...expected, reference: "inv-1" });
  });

  test("prices list, set, free and unset", async () => {
    const all = await run<{ currency: string; prices: Price[] }>("prices", "list");
    assert.equal(all.currency, "USD");
    assert.equal(new Set(all.prices.map(({ model }) => model)).size, 14);
    const priceOf = async (row: string): Promise<Price | undefined> => {
      const { prices } = await run<{ prices: Price[] }>("prices", "list", "flux-2-pro");
      return prices.find((price) => price.row === row);
    };
    assert.deepEqual(
      [(await priceOf("1K"))?.price, (await priceOf("1K"))?.source],
      [0.045, "list"],
    );
    const set = await run("prices", "set", "flux-2-pro", "1K", "0.05");
    assert.deepEqual(set, { model: "flux-2-pro", row: "1K", unit: "picture", price: 0.05 });
    const changed = await priceOf("1K");
    assert.deepEqual([changed?.price, changed?.list_price, changed?.source], [0.05, 0.045, "set"]);
    assert.deepEqual(await run("prices", "free", "flux-2-pro"), {
      model: "flux-2-pro",
      free: true,
    });
    assert.deepEqual([(await priceOf("2K"))?.price, (await priceOf("2K"))?.source], [0, "free"]);
    await run("prices", "unset", "flux-2-pro");
    assert.equal((await priceOf("2K"))?.source, "list");
    const none = await run<{ dropped: number }>("prices", "unset", "flux-2-pro", "1K");
    assert.equal(none.dropped, 0);
  });

  test("doctor, with a full check of the ledger", async () => {
    const report = await run<Doctor>("doctor");
    assert.equal(report.ok, true);
    assert.equal(report.ledger.ok, true);
    assert.ok(report.ledger.accounts >= 3 && report.ledger.entries > 0);
    for (const { check, state } of report.checks) assert.notEqual(state, "error", check);
  });
});

test("without --json people get text: tables, a key on a line of its own, no JSON", async () => {
  const list = await runCommand(gateway.folder, ["accounts", "list"]);
  assert.equal(list.code, 0);
  assert.match(list.stdout, /^ID +NAME +RATIO +BALANCE USD +HELD USD\n/);
  assert.match(list.stdout, /default/);
  const made = await runCommand(gateway.folder, [
    "keys",
    "create",
    "--mode",
    "test",
    "--name",
    "x y",
  ]);
  assert.match(made.stdout, /test key "x y".*only now/);
  assert.match(made.stdout, /^ {2}sk-test-\w{43}$/m);
  const prices = await runCommand(gateway.folder, ["prices", "list", "flux-2-pro"]);
  assert.match(prices.stdout, /flux-2-pro +1K +0\.045/);
  const doctor = await runCommand(gateway.folder, ["doctor"]);
  assert.match(doctor.stdout, /ledger +ok/);
});

describe(
  "a wrong command line ends with 2, says why, and prints nothing for machines:",
  { concurrency: 2 },
  () => {
    const wrong: [name: string, args: string[], words: RegExp][] = [
      ["an unknown command", ["keys", "make"], /"keys make" is not a command.*help/],
      ["an unknown option", ["keys", "list", "--colour"], /--colour/],
      ["a missing option", ["keys", "create", "--mode", "test"], /--name is missing/],
      ["a missing word", ["accounts", "create"], /use: accounts create NAME/],
      ["a mode that is none", ["keys", "create", "--mode", "both", "--name", "x"], /live or test/],
      [
        "an amount that is none",
        ["accounts", "credit", "default", "1,50", "--note", "x"],
        /^USD "1,50" is not .*12\.50/,
      ],
      [
        "a cap that is none",
        ["keys", "create", "--mode", "test", "--name", "x", "--cap", "-1"],
        /^--cap "-1" is not .*use 0\.00 to 999999999\.999999, with at most six decimals\n$/,
      ],
      [
        "an option without its value",
        ["keys", "list", "--account"],
        /^--account has no value; use/,
      ],
      [
        "a credit of nothing",
        ["accounts", "credit", "default", "0", "--note", "x"],
        /^USD "0" is not .*use 0\.000001 to 999999999\.999999/,
      ],
      [
        "a credit that says nothing",
        ["accounts", "credit", "default", "1", "--note", " "],
        /^--note " " is blank/,
      ],
      [
        "a credit with a blank reference",
        ["accounts", "credit", "default", "1", "--note", "x", "--reference="],
        /^--reference "" is blank/,
      ],
      [
        "a date that is none",
        ["keys", "create", "--mode", "test", "--name", "x", "--expires", "soon"],
        /--expires/,
      ],
      [
        "an expiry in the past",
        ["keys", "create", "--mode", "test", "--name", "x", "--expires", "2020-01-01"],
        /--expires.*past/,
      ],
      ["a word after serve", ["serve", "now"], /argument 'now'; use: serve/],
    ];
    for (const [name, args, words] of wrong) {
      test(name, async () => {
        const { code, stdout, stderr } = await runCommand(gateway.folder, [...args, ...json(args)]);
        assert.deepEqual({ code, stdout }, { code: 2, stdout: "" }, stderr);
        assert.match(stderr, words);
        assert.ok(!stderr.includes("    at "), stderr);
      });
    }

    test("settings that cannot be used are all named at once", async () => {
      const settings = { DARKROOM_PORT: "web", DARKROOM_RESULT_TTL: "1d", DARKROOM_PROT: "1" };
      const { code, stdout, stderr } = await runCommand(gateway.folder, ["doctor"], settings);
      assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
      for (const variable of Object.keys(settings)) assert.ok(stderr.includes(variable), stderr);
    });
  },
);

describe(
  "what is refused ends with 1, says why, and prints nothing for machines:",
  { concurrency: 2 },
  () => {
    const refused: [name: string, args: string[], words: RegExp][] = [
      ["an account that exists", ["accounts", "create", "default"], /"default" is taken/],
      ["a name that is not allowed", ["accounts", "create", "../x"], /name/],
      ["an account that does not exist", ["accounts", "set", "nobody", "--ratio", "1"], /"nobody"/],
      ["a key that does not exist", ["keys", "revoke", "key_1"], /"key_1"/],
      [
        "a limit out of range",
        ["accounts", "set", "default", "--rpm", "0"],
        /^--rpm 0 is not a whole number from 1 to 1000000/,
      ],
      [
        "a ratio out of range",
        ["accounts", "set", "default", "--ratio", "2000"],
        /^--ratio "2000" .*0 to 1000/,
      ],
      ["an unknown model", ["prices", "set", "flux-2-pr0", "1K", "1"], /flux-2-pro/],
      ["an unknown price", ["prices", "set", "flux-2-pro", "8K", "1"], /use one of 1K, 2K/],
      [
        "an unknown model for a key",
        ["keys", "create", "--mode", "test", "--name", "x", "--models", "nothing"],
        /nothing/,
      ],
      [
        "an address list that is none",
        ["keys", "create", "--mode", "test", "--name", "x", "--ips", "300.1.1.1"],
        /^--ips entry "300\.1\.1\.1"/,
      ],
      [
        "an empty address list",
        ["keys", "create", "--mode", "test", "--name", "x", "--ips", ""],
        /^--ips has 0 entries; allowed are 1 to 100/,
      ],
      [
        "a blank name for a key",
        ["keys", "create", "--mode", "test", "--name", " "],
        /^--name is blank/,
      ],
      ["a second server on the folder", ["serve"], /another server is running/],
    ];
    for (const [name, args, words] of refused) {
      test(name, async () => {
        const { code, stdout, stderr } = await runCommand(gateway.folder, [...args, ...json(args)]);
        assert.deepEqual({ code, stdout }, { code: 1, stdout: "" }, stderr);
        assert.match(stderr, words);
        assert.ok(!stderr.includes("    at "), stderr);
      });
    }
  },
);

test("help lists every command and ends with 0; no command at all ends with 2", async () => {
  const help = await runCommand(gateway.folder, ["help"]);
  assert.equal(help.code, 0);
  for (const command of [
    "serve",
    "keys create",
    "keys list",
    "keys revoke",
    "accounts create",
    "accounts credit",
    "accounts list",
    "accounts set",
    "prices list",
    "prices set",
    "prices free",
    "prices unset",
    "channels add",
    "channels list",
    "channels test",
    "channels disable",
    "channels enable",
    "doctor",
  ]) {
    assert.match(help.stdout, new RegExp(`^ {2}${command}\\b`, "m"));
  }
  assert.equal((await runCommand(gateway.folder, [])).code, 2);
});

test("the name of a family lists its own commands; --version is the program's", async () => {
  for (const [family, count] of Object.entries({ keys: 3, accounts: 4, prices: 4, channels: 5 })) {
    const bare = await runCommand(gateway.folder, [family]);
    assert.equal(bare.code, 2);
    const names = bare.stdout.match(/^ {2}\w+ \w+/gm) ?? [];
    assert.equal(names.length, count, bare.stdout);
    assert.ok(names.every((name) => name.startsWith(`  ${family} `)));
    const help = await runCommand(gateway.folder, [family, "help"]);
    assert.deepEqual([help.code, help.stdout], [0, bare.stdout]);
  }
  const version = await runCommand(gateway.folder, ["--version"]);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
});

test("commands work on a folder that no server has ever served", async () => {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-commands-"));
  try {
    const data = join(folder, "data");
    const { code, stdout } = await runCommand(data, ["accounts", "create", "first", "--json"]);
    assert.equal(code, 0);
    assert.equal(parseOnly<Account>(stdout).name, "first");
    assert.equal((await stat(data)).mode & 0o777, 0o700);
    assert.equal((await stat(join(data, "secret"))).mode & 0o777, 0o600);
    const made = await runJson<{ key: string }>(
      data,
      "keys create --account first --mode test --name x".split(" "),
    );
    // A key of another installation is unknown here.
    assert.equal(refusalOf(await gateway.clientOf(made.key).get("/v1/models")).status, 401);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function run<Body>(...args: string[]): Promise<Body> {
  return runJson<Body>(gateway.folder, args);
}

function json(args: readonly string[]): string[] {
  return args[0] === "serve" ? [] : ["--json"];
}
