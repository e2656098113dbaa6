import type { EmulatorReply, Misbehaviour } from "./vendor-server.ts";

/** `refuse` answers before the work; whatever else goes wrong does so after it. */
export type Fault = Misbehaviour | { kind: "refuse"; reply: EmulatorReply };

/** One fault for every request, or one a request until the list is used up; null for none. */
export type Faults = Fault | readonly Fault[] | null;

/** What goes wrong at which part of a protocol. */
export type FaultPlan<Name extends string> = {
  /** Parts that are left out stay as they are. */
  set(faults: Readonly<Partial<Record<Name, Faults | undefined>>>): void;
  /** The reply of a part, with its next fault. */
  answer(name: Name, work: () => Promise<EmulatorReply> | EmulatorReply): Promise<EmulatorReply>;
  /** Resolves once a request of the present plan waits for an answer that will not come. */
  untilHanging(): Promise<void>;
};

export function createFaultPlan<Name extends string>(): FaultPlan<Name> {
  const planned = new Map<string, Fault | Fault[]>();
  let hanging = Promise.withResolvers<void>();

  function takeFault(name: Name): Fault | null {
    const faults = planned.get(name) ?? null;
    return Array.isArray(faults) ? (faults.shift() ?? null) : faults;
  }

  return {
    set: (changes) => {
      hanging = Promise.withResolvers();
      for (const [name, faults] of Object.entries<Faults | undefined>(changes)) {
        if (faults === undefined) continue;
        if (faults === null) planned.delete(name);
        else planned.set(name, "kind" in faults ? faults : [...faults]);
      }
    },
    answer: async (name, work) => {
      const fault = takeFault(name);
      if (fault?.kind === "refuse") return fault.reply;
      const reply = await work();
      if (fault === null) return reply;
      if (fault.kind === "hang" || fault.kind === "hang_after_headers") hanging.resolve();
      return { ...reply, how: fault };
    },
    untilHanging: () => hanging.promise,
  };
}
