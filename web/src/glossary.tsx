// Words of two trades, as hover text where a newcomer first meets them; the sentences are those of docs/glossary.md.
const WORDS = {
  node: "who owns rows and a machine, trains on them there, and is paid. Its program is the node.",
  stake: "what a client puts in to take part. It is its weight, comes back at the end, and is lost for two signed updates of one round.",
  loss: "how wrong a model is on some rows; less is better. Everything that is paid is a part of what the loss fell by.",
  escrow: "money that a contract holds until its rules say whose it is. The budget is in escrow before anybody trains.",
  claim: "fetching what one has earned. Anybody may send it; the money goes to who earned it.",
  length: "of an update: how far it moves the model. A longer one than the round's median counts as if it had the median's.",
  wei: "the smallest part of a token, 10^−18 of it. Programs count in wei, people in tokens.",
  price: "tokens for a loss that is lower by 1.0; one for all clients and all rounds of a task.",
  gas: "the price of a transaction, paid to the chain, whatever the transaction is about.",
  direction: "of a round: the way in which the model's values have to move to lower the loss, one vector for everybody.",
  strategy: "how the aggregate is made of the updates; Flower's word and Flower's code.",
  evaluator: "who recomputes a round on the validation rows and signs it, or says what differs.",
  token: "what is paid out and staked: an ERC-20, named by its address.",
  challenge: "a claim on chain that a score is wrong, with a bond behind it; whoever is wrong loses the bond.",
} as const;

export type Word = keyof typeof WORDS;

/** A term with what it means behind it; `children` where the sentence has it in another form. */
export function Term({ name, children }: { name: Word; children?: preact.ComponentChildren }) {
  return <abbr title={WORDS[name]}>{children ?? name}</abbr>;
}
