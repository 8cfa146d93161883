// A claim through the browser's wallet (EIP-1193). Nothing but the wallet is asked: it has its own way to the chain.
import type { Abi, Hex } from "viem";
import { encodeFunctionData, getAddress } from "viem/utils";
import { fetchJson, type Header } from "./run";
import { packed, payroll, type Leaf, type Node } from "./tree";

type Provider = { request: (call: { method: string; params?: unknown[] }) => Promise<any> };
declare global {
  interface Window {
    ethereum?: Provider;
  }
}
type Contract = { chain_id: number; contract: Hex; abi: Abi };

export const hasWallet = () => window.ethereum !== undefined;

/** Send `claim` for a leaf and wait until it is in a block; returns the transaction's hash. */
export async function claim(
  header: Header,
  leaf: Leaf,
  index: number,
  siblings: Node[],
  tell: (step: string) => void,
): Promise<string> {
  const wallet = window.ethereum;
  if (!wallet) throw new Error("this browser has no wallet; install one, or claim with `fl claim`");
  const target = await fetchJson<Contract>("contract");
  tell("waiting for the wallet to name an account");
  const [from] = (await wallet.request({ method: "eth_requestAccounts" })) as Hex[];
  if (!from) throw new Error("the wallet named no account; unlock it and try again");
  await onChain(wallet, target.chain_id);
  const data = encodeFunctionData({
    abi: target.abi,
    functionName: "claim",
    args: [
      payroll(header),
      { ...leaf, account: getAddress(leaf.account) },
      { index, siblings: packed(siblings) },
    ],
  });
  const transaction = { from, to: target.contract, data };
  tell("trying the claim");
  await wallet.request({ method: "eth_call", params: [transaction, "latest"] }); // a refusal shows before any gas is spent
  tell("waiting for the wallet to send it");
  const hash = (await wallet.request({ method: "eth_sendTransaction", params: [transaction] })) as string;
  tell(`sent as ${hash}; waiting for a block`);
  for (;;) {
    const receipt = await wallet.request({ method: "eth_getTransactionReceipt", params: [hash] });
    if (receipt?.status === "0x1") return hash;
    if (receipt) throw new Error(`the contract refused the claim in transaction ${hash}`);
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
