"""Proves, for any number of clients, that a pot splits to the wei by floor or, with a remainder, floor + 1. Needs z3-solver.

By induction over the clients, in unbounded integers. A client's entitlement a, of the total E, gives the floor f and the
remainder r of pot · a / E: pot · a = E · f + r with 0 <= r < E. Over the clients so far, P adds up pot · a, Q adds up
E · f, R adds up r, and M adds up E - 1 for each remainder that is not 0. Held at every step: P = Q + R and 0 <= R <= M.
In the end P = pot · E, Q = E · F for the sum F of the floors, and M = K · (E - 1) for K remainders. Then what the floors
leave of the pot is 0 to K wei: at most one for each client that has a remainder.
"""

from z3 import And, BoolRef, If, Ints, Not, Solver, unsat

pot, E, F, K, P, Q, R, M, p, q, r = Ints("pot E F K P Q R M p q r")
held = And(P == Q + R, R >= 0, R <= M)


def proved(name: str, *, given: BoolRef, claim: BoolRef) -> bool:
    """Whether the claim follows, said on a line of its own."""
    solver = Solver()
    solver.set("timeout", 60_000)
    solver.add(given, Not(claim))
    answer = solver.check()
    print(f"{name}: {'proved' if answer == unsat else answer}")
    return answer == unsat


steps = [
    proved("no client", given=And(P == 0, Q == 0, R == 0, M == 0), claim=held),
    proved(
        "one client more",
        given=And(held, E > 0, p == q + r, r >= 0, r < E),
        claim=And(P + p == Q + q + R + r, R + r >= 0, R + r <= M + If(r == 0, 0, E - 1)),
    ),
    proved(
        "all of them",
        given=And(held, E > 0, pot >= 0, K >= 0, pot * E == P, Q == E * F, M == K * (E - 1)),
        claim=And(pot - F >= 0, pot - F <= K),
    ),
]
raise SystemExit(0 if all(steps) else 1)
