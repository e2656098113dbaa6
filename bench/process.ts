/** Start-up time and memory of one gateway process. */
import { median } from "./load.ts";
import { removeFolder, startGateway } from "./processes.ts";
import { submit } from "./submit.ts";
import { printTable } from "./table.ts";

const starts = 5;
const tasksInFlight = 10_000;
const sendersMax = 64;
const idleMs = 25_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function benchProcess(): Promise<void> {
  const first = await startGateway();
  await pause(idleMs);
  const rows = [["idle memory, after the picture processes have stopped", mb(await first.rssMb())]];
  await first.stop();

  const ready: number[] = [];
  for (let i = 0; i < starts; i++) {
    const again = await startGateway({}, first.folder);
    ready.push(again.readyMs);
    await again.stop();
  }
  rows.push([`ready, start 2 to ${starts + 1}, median`, `${median(ready).toFixed(0)} ms`]);
  await removeFolder(first.folder);
  rows.push(...(await measureInFlight()));
  printTable(["what", "measured"], rows);
}

/** Every task is claimed and sent, and its picture is ten minutes away. */
async function measureInFlight(): Promise<string[][]> {
  const gateway = await startGateway();
  let sent = 0;
  const send = async (): Promise<void> => {
    while (sent < tasksInFlight) {
      sent += 1;
      await submit(gateway, { model: "flux-2-pro", prompt: `in flight ${sent} [[slow:600s]]` });
    }
  };
  await Promise.all(Array.from({ length: sendersMax }, send));
  await pause(idleMs);
  const rows = [[`memory with ${tasksInFlight} tasks in flight`, mb(await gateway.rssMb())]];
  await gateway.stop();
  await removeFolder(gateway.folder);
  return rows;
}

function mb(value: number): string {
  return `${value.toFixed(0)} MB`;
}
