// How to take part: the invite's link as text and as a QR code, while the task takes clients.
import encodeQR from "qr";
import { useEffect, useState } from "preact/hooks";
import { fetchJson } from "./run";
import { Term } from "./glossary";
import { plural } from "./words";

export type Invited = {
  name: string;
  description: string;
  link: string; // "" where the task is nobody's to join
  waiting: { wanted: number; joined: number; connected: number } | null; // before round 1
};

/** What the invite says; asked again while a task waits for its clients. */
export function useInvite(waiting: boolean): Invited | null {
  const [invited, setInvited] = useState<Invited | null>(null);
  useEffect(() => {
    let stopped = false;
    const look = () =>
      fetchJson<Invited>("invite").then(
        (told) => !stopped && setInvited(told),
        () => {},
      );
    look();
    const timer = waiting ? setInterval(look, 2000) : undefined;
    return () => {
      stopped = true;
      clearInterval(timer);
    };
  }, [waiting]);
  return invited;
}

export function Join({ invited, children }: { invited: Invited; children?: preact.ComponentChildren }) {
  const [told, setTold] = useState("");
  const command = `fl client ${invited.link} FILE`;
  const copy = () =>
    navigator.clipboard.writeText(command).then(
      () => setTold("copied"),
      () => setTold("this browser does not let the page copy; mark the text instead"),
    );
  return (
    <div class="card join">
      <div>
        {children}
        <p>
          Whoever has rows of this kind can take part: install Fairshare, and start a <Term name="node">node</Term> with
          the file of your rows. It shows everything, asks once, and stakes nothing before.
        </p>
        <p>
          <code class="whole">{command}</code>
        </p>
        <p>
          <button type="button" onClick={copy}>
            Copy the command
          </button>{" "}
          <span role="status" class="soft">
            {told}
          </span>
        </p>
      </div>
      <Code text={invited.link} />
    </div>
  );
}

/** Who is waited for, in words. */
export function waitingFor({ wanted, joined, connected }: NonNullable<Invited["waiting"]>): string {
  const left = Math.max(0, wanted - joined);
  if (left) return `${joined} of ${plural(wanted, "client")} joined, ${connected} connected: ${left} more ${left === 1 ? "is" : "are"} waited for`;
  return `${plural(joined, "client")} joined, ${connected} of them connected: round 1 begins when ${wanted} are`;
}

/** A QR code, dark on light in either theme: most readers take no other. */
function Code({ text }: { text: string }) {
  const modules = encodeQR(text, "raw", { border: 4 });
  const path = modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ""))).join("");
  return (
    <svg class="qr" viewBox={`0 0 ${modules.length} ${modules.length}`} role="img" aria-label="QR code of the invite's link">
      <rect width="100%" height="100%" fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  );
}
