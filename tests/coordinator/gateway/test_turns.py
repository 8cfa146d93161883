"""Turns without a network: one after the other by who asks."""

import asyncio

import pytest

from fl.coordinator.gateway.turns import TooMany, Turns


def order_of(asked, **limits):
    """Who had a turn, in order, where all ask at once and each turn ends when everybody has asked."""

    async def play():
        turns, served = Turns(**{"at_once": 1, "of_one": 1, "waiting_of_one": 100, **limits}), []

        async def ask(who):
            async with turns.turn(who):
                served.append(who)
                await asyncio.sleep(0)

        await asyncio.gather(*map(ask, asked))
        assert not turns._running
        assert not turns._waiting
        return served

    return asyncio.run(play())


def test_one_that_asks_much_waits_for_itself_and_others_do_not():
    assert order_of(["greedy"] * 5 + ["node"] * 2) == ["greedy", "greedy", "node", "greedy", "node", "greedy", "greedy"]


def test_a_node_that_comes_last_is_next_but_one_for_each_other_asker():
    served = order_of(["a"] * 50 + ["b"] * 50 + ["node"])
    assert served.index("node") <= 4


def test_one_asker_has_no_more_at_a_time_than_its_own_part():
    async def play():
        turns = Turns(4, of_one=2, waiting_of_one=100)
        await turns.take("greedy")
        await turns.take("greedy")
        third = asyncio.ensure_future(turns.take("greedy"))
        await asyncio.wait_for(turns.take("node"), 5)
        assert not third.done()
        turns.give_back("greedy")
        await asyncio.wait_for(third, 5)

    asyncio.run(play())


def test_who_has_too_much_waiting_is_told():
    async def play():
        turns = Turns(1, of_one=1, waiting_of_one=1)
        await turns.take("a")
        waiting = asyncio.ensure_future(turns.take("a"))
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await turns.take("a")
        waiting.cancel()

    asyncio.run(play())


def test_one_that_gives_up_leaves_its_place():
    async def play():
        turns = Turns(1, of_one=1, waiting_of_one=9)
        await turns.take("a")
        gone, waits = (asyncio.ensure_future(turns.take(who)) for who in ("b", "c"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        turns.give_back("a")
        await asyncio.wait_for(waits, 5)
        turns.give_back("c")
        assert not turns._running

    asyncio.run(play())


def test_a_turn_that_comes_to_one_that_has_just_given_up_goes_on():
    async def play():
        turns = Turns(1, of_one=1, waiting_of_one=9)
        await turns.take("a")
        gone, waits = (asyncio.ensure_future(turns.take(who)) for who in ("b", "c"))
        await asyncio.sleep(0)
        turns.give_back("a")
        gone.cancel()
        await asyncio.wait_for(waits, 5)

    asyncio.run(play())
