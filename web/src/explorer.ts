// Where people look transactions up, for the chains that have such a page. The page asks none of them: it only links there.
const EXPLORERS: Record<number, string> = {
  1: "https://etherscan.io",
  10: "https://optimistic.etherscan.io",
  100: "https://gnosisscan.io",
  137: "https://polygonscan.com",
  8453: "https://basescan.org",
  42161: "https://arbiscan.io",
  84532: "https://sepolia.basescan.org",
  421614: "https://sepolia.arbiscan.io",
  11155111: "https://sepolia.etherscan.io",
  11155420: "https://sepolia-optimism.etherscan.io",
  17000: "https://holesky.etherscan.io",
  560048: "https://hoodi.etherscan.io",
};

/** The address of a transaction's or an account's page, null on a chain that has none, such as a devnet. */
export function explorerUrl(chainId: number, kind: "tx" | "address", value: string): string | null {
  const base = EXPLORERS[chainId];
  return base ? `${base}/${kind}/${value}` : null;
}
