// Claims and leaves through the browser's wallet (EIP-1193, EIP-747). Nothing but the wallet is asked: it has its own way to the chain.
import type { Abi, Hex } from "viem";
import { decodeFunctionResult, encodeFunctionData, getAddress } from "viem/utils";
import { fetchJson, type Header } from "./run";
import { packed, payroll, type Leaf, type Node } from "./tree";

type Provider = { request: (call: { method: string; params?: unknown[] }) => Promise<any> };
declare global {
  interface Window {
    ethereum?: Provider;
  }
}
type Contract = { chain_id: number; contract: Hex; token: Hex; id: Hex; abi: Abi };

export const hasWallet = () => window.ethereum !== undefined;

/** Send `claim` for a leaf and wait until it is in a block; returns the transaction's hash. */
export async function claim(
  header: Header,
  leaf: Leaf,
  index: number,
  siblings: Node[],
  tell: (step: string) => void,
): Promise<string> {
  const proof = { index, siblings: packed(siblings) };
  return transact("claim", [payroll(header), { ...leaf, account: getAddress(leaf.account) }, proof], tell);
}

/** Send `leave` for the account of the wallet, which has to be this one; returns the transaction's hash. */
export async function leave(account: string, tell: (step: string) => void): Promise<string> {
  const { id } = await fetchJson<Contract>("contract");
  return transact("leave", [id], tell, account);
}

/** Ask the wallet to show the task's token; returns whether it does now. */
export async function showToken(): Promise<boolean> {
  const wallet = walletHere();
  const target = await fetchJson<Contract>("contract");
  await wallet.request({ method: "eth_requestAccounts" });
  await onChain(wallet, target.chain_id);
  const symbol = decodeFunctionResult({ abi: SYMBOL, functionName: "symbol", data: await asked(wallet, target.token, "0x95d89b41") });
  const options = { address: target.token, symbol, decimals: 18 };
  return Boolean(await wallet.request({ method: "wallet_watchAsset", params: { type: "ERC20", options } as never }));
}

const SYMBOL = [{ type: "function", name: "symbol", inputs: [], outputs: [{ type: "string" }], stateMutability: "view" }] as const;

const asked = (wallet: Provider, to: Hex, data: Hex): Promise<Hex> =>
  wallet.request({ method: "eth_call", params: [{ to, data }, "latest"] });

function walletHere(): Provider {
  if (!window.ethereum) throw new Error("this browser has no wallet; install one, or use `fl` in a terminal");
  return window.ethereum;
}

/** Send a call to the task's contract and wait until it is in a block; `account` is who has to send it, anybody if not given. */
async function transact(name: string, args: unknown[], tell: (step: string) => void, account?: string): Promise<string> {
  const wallet = walletHere();
  const target = await fetchJson<Contract>("contract");
  tell("waiting for the wallet to name an account");
  const accounts = (await wallet.request({ method: "eth_requestAccounts" })) as Hex[];
  const from = account ? accounts.find((held) => held.toLowerCase() === account.toLowerCase()) : accounts[0];
  if (!from) throw new Error(account ? `the wallet does not hold ${account}; choose it there and try again` : "the wallet named no account; unlock it and try again");
  await onChain(wallet, target.chain_id);
  const data = encodeFunctionData({ abi: target.abi, functionName: name, args });
  const transaction = { from, to: target.contract, data };
  tell(`trying the ${name}`);
  await wallet.request({ method: "eth_call", params: [transaction, "latest"] }); // a refusal shows before any gas is spent
  tell("waiting for the wallet to send it");
  const hash = (await wallet.request({ method: "eth_sendTransaction", params: [transaction] })) as string;
  tell(`sent as ${hash}; waiting for a block`);
  for (;;) {
    const receipt = await wallet.request({ method: "eth_getTransactionReceipt", params: [hash] });
    if (receipt?.status === "0x1") return hash;
    if (receipt) throw new Error(`the contract refused the ${name} in transaction ${hash}`);
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function onChain(wallet: Provider, chainId: number): Promise<void> {
  const wanted = `0x${chainId.toString(16)}`;
  if (BigInt(await wallet.request({ method: "eth_chainId" })) === BigInt(chainId)) return;
  try {
    await wallet.request({ method: "wallet_switchEthereumChain", params: [{ chainId: wanted }] });
  } catch {
    throw new Error(`the wallet is on another chain; add and choose the one with id ${chainId}, whose RPC address is in the invite`);
  }
}
