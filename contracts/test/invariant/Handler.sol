// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "../world/Blocks.sol";
import {coverAfter} from "../world/Covers.sol";
import {Escrow} from "../world/Escrow.sol";
import {Payout} from "../world/Payout.sol";
import {hashOf, payroll} from "../world/Payroll.sol";
import {Tree} from "../world/Tree.sol";
import {vm} from "../world/Vm.sol";
import {Challenges} from "./Challenges.sol";
import {Proofs} from "./Proofs.sol";
import {Stage} from "./Stage.sol";

/// @notice Plays all parties of up to three tasks in one token.
contract Handler is Challenges, Proofs {
    constructor(Escrow fairshare_, DevToken token_) Stage(fairshare_, token_) {}

    /* A TASK'S LIFE */

    /// @dev The first task has an honest coordinator, the others have not.
    function open(uint256 budget, uint256 bond, uint256 rounds) external {
        if (taskIds.length == 3) return;
        address[] memory evaluators = new address[](3);
        for (uint256 i; i < 3; i++) {
            evaluators[i] = vm.addr(evaluatorKeys[i]);
        }
        ITask.Terms memory terms = ITask.Terms({
            token: address(token),
            coordinator: COORDINATOR,
            evaluators: evaluators,
            quorum: 2,
            revealEachRound: true,
            attested: false,
            mayStop: true,
            mayCloseJoining: true,
            rounds: uint32(rounds % 6 + 1),
            challengeWindow: 100,
            responseWindow: 40,
            roundTimeout: 1000,
            claimPeriod: 3600,
            budget: uint128(budget % 1e24 + 1),
            bond: uint128(MIN_STAKE + bond % 1e22),
            minStake: MIN_STAKE,
            maxStake: 5e18,
            evaluatorStake: bond >> 200 & 1 == 0 ? 0 : MIN_STAKE + uint128(bond >> 128) % 1e20,
            members: 0,
            specHash: 0,
            validationHash: 0,
            baseModel: 0,
            salt: bytes32(taskIds.length)
        });
        _fund(SPONSOR, terms.budget);
        vm.prank(SPONSOR);
        bytes32 id = fairshare.open(terms);
        honest[id] = taskIds.length == 0;
        taskIds.push(id);
        for (uint256 i; i < 3 && terms.evaluatorStake != 0; i++) {
            _fund(evaluators[i], terms.evaluatorStake);
            vm.prank(evaluators[i]);
            fairshare.stakeEvaluator(id, evaluators[i], "");
            backing[id][i] = terms.evaluatorStake;
        }
        done[msg.sig]++;
    }

    function join(uint256 which, uint256 who, uint256 stake) external {
        (bytes32 id, bool ok) = _pick(which);
        address client = clients[who % clients.length];
        if (!ok || fairshare.clientOf(id, client).firstRound != 0) return;
        stake = 1e18 + stake % 4e18;
        _fund(client, stake);
        vm.prank(client);
        try fairshare.join(id, uint128(stake), "", 0, new bytes32[](0)) {
            staked[id][client] = stake;
            done[msg.sig]++;
        } catch {}
    }

    /// @dev A relayer enrols a client for a fee, or tries to with more than the client signed for.
    function joinFor(uint256 which, uint256 who, uint256 stake, uint256 bent) external {
        (bytes32 id, bool ok) = _pick(which);
        address client = clients[who % clients.length];
        if (!ok || fairshare.clientOf(id, client).firstRound != 0) return;
        ITask.Enrolment memory e =
            ITask.Enrolment(client, uint128(1e18 + stake % 4e18), "key", 0, uint128(stake % 1e18), uint40(clock + 1), "");
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "Join(bytes32 taskId,address account,uint128 stake,bytes nodeKey,bytes32 dataset,uint128 fee,uint40 deadline)"
                ),
                id,
                client,
                e.stake,
                keccak256(e.nodeKey),
                e.dataset,
                e.fee,
                e.deadline
            )
        );
        e.signature = _long(keyOf[client], _typed(structHash));
        if (bent % 4 == 0) e.fee += 1;
        _fund(client, e.stake);
        token.mint(client, e.fee);
        ITask.Permit memory none;
        vm.prank(RELAYER);
        try fairshare.joinFor(id, e, none, new bytes32[](0)) {
            if (bent % 4 == 0) broken = "a relayer took more than was signed for";
            staked[id][client] = e.stake;
            done[msg.sig]++;
        } catch {}
    }

    function start(uint256 which) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        (ITask.Terms memory terms,) = fairshare.task(id);
        _fund(COORDINATOR, terms.bond);
        vm.prank(COORDINATOR);
        try fairshare.start(id) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev Every other round of a hostile coordinator is a lie, and one in four has updates of many blocks.
    function post(uint256 which, uint256 luck) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        (, ITask.State memory state) = fairshare.task(id);
        if (state.status != ITask.Status.Started || state.posted == state.rounds) return;
        uint32 round = state.posted + 1;
        uint64 blocks = luck % 4 == 0 ? MANY : 1;
        (ITask.Leaf[] memory leaves, int128[] memory scores) = _moved(id, round, luck, blocks);
        Lie lie = honest[id] || luck >> 2 & 1 == 0 ? Lie.None : Lie((luck >> 3) % 8 + 1);
        if (leaves.length < 2 && (lie == Lie.Theft || lie == Lie.Disorder || lie == Lie.BadLeaf)) lie = Lie.Score;
        if (leaves.length < 3 && lie == Lie.BadNode) lie = Lie.Score;
        if (lie == Lie.Chain && round == 1) lie = Lie.Score;
        if (lie == Lie.Score) scores[0] += 1 + int128(uint128(luck % 1e6));
        uint128 price = Payout.settle(leaves, scores, _allowed(state));
        lie = _bend(leaves, lie);
        if (_send(id, round, leaves, price, lie, blocks)) done[lie == Lie.None ? msg.sig : bytes4("lies")]++;
    }

    function _allowed(ITask.State memory state) internal pure returns (uint256) {
        uint256 round = state.posted + 1;
        return round == state.rounds ? state.budget : state.budget * round / state.rounds;
    }

    /// @dev Makes a round's leaves those of its lie, if there is enough to steal.
    function _bend(ITask.Leaf[] memory leaves, Lie lie) internal pure returns (Lie) {
        uint256 last = leaves.length - 1;
        if (lie == Lie.Theft) {
            if (leaves[last].cumulative < 1) return Lie.None;
            (leaves[0].cumulative, leaves[last].cumulative) = (leaves[0].cumulative + 1, leaves[last].cumulative - 1);
        } else if (lie == Lie.Disorder) {
            (leaves[0], leaves[1]) = (leaves[1], leaves[0]);
        } else if (lie == Lie.Missing) {
            leaves[0].account = _impostor(leaves[0].account);
        } else if (lie == Lie.BadLeaf && leaves[1].cumulative == 0) {
            return Lie.None;
        } else if (lie == Lie.BadNode && Tree.levels(leaves)[1][1].cumulative == 0) {
            return Lie.None;
        }
        return lie;
    }

    /// @return sent False if the bond does not cover it yet.
    function _send(bytes32 id, uint32 round, ITask.Leaf[] memory leaves, uint128 price, Lie lie, uint64 blocks)
        internal
        returns (bool sent)
    {
        Tree.Node[][] memory levels = _levels(leaves, lie);
        uint256 depth;
        while (levels[depth].length > 1) depth++;
        Tree.Node memory top = levels[depth][0];
        ITask.Header memory header = _blank(id, round);
        if (lie == Lie.Chain) header.baseModel = "another";
        header.directionRoot = Blocks.root(blocks, directionTop[blocks]);
        header.leafCount = uint32(leaves.length);
        (header.treeRoot, header.cumulative, header.price) = (top.node, top.cumulative, price);
        if (!_posted(id, header, lie)) return false;
        posted[id].push(Posted(header, lie, blocks));
        for (uint256 i; i < leaves.length; i++) {
            leavesOf[id][round].push(leaves[i]);
        }
        if (lie != Lie.None) lied[id] = true;
        return true;
    }

    function _blank(bytes32 id, uint32 round) internal view returns (ITask.Header memory header) {
        (, ITask.State memory state) = fairshare.task(id);
        (header.taskId, header.round, header.enrolment) = (id, round, state.enrolment);
        if (round > 1) {
            header.previous = fairshare.headerHash(_header(id, round - 1));
            header.baseModel = _header(id, round - 1).nextModel;
        }
        header.nextModel = bytes32(uint256(round));
    }

    function _posted(bytes32 id, ITask.Header memory header, Lie lie) internal returns (bool) {
        (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(id);
        bytes32 next = coverAfter(coverOf[id], terms, state, clock, header.cumulative);
        ITask.Signature[] memory signatures = _signatures(header, lie == Lie.None ? 0 : 1);
        vm.prank(COORDINATOR);
        try fairshare.post(header, signatures, coverOf[id]) {
            coverOf[id] = next;
            return true;
        } catch (bytes memory reason) {
            if (bytes4(reason) != ITask.NotCovered.selector) broken = "a round could not be posted";
            else if (header.cumulative - uint96(uint256(next)) <= terms.bond) broken = "a covered round was refused";
            done[bytes4("thin")]++;
            return false;
        }
    }

    /// @dev Two neighbours' of the three evaluators: the first is honest, the last is hostile, the other signs all.
    function _signatures(ITask.Header memory header, uint256 from)
        internal
        view
        returns (ITask.Signature[] memory signatures)
    {
        bytes32 words = hashOf(header);
        signatures = new ITask.Signature[](2);
        for (uint256 i; i < 2; i++) {
            signatures[i] = _sign(evaluatorKeys[from + i], _typed(words));
        }
    }

    /// @dev A coordinator whose evaluators do not all lie with it: one signature where two are due, the same one twice, an
    /// outsider's, or both over another header.
    function forge(uint256 which, uint256 how) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        (, ITask.State memory state) = fairshare.task(id);
        if (state.status != ITask.Status.Started || state.posted == state.rounds) return;
        ITask.Header memory header = _blank(id, state.posted + 1);
        (ITask.Leaf[] memory leaves,) = _moved(id, header.round, how, 1);
        header.leafCount = uint32(leaves.length);
        (header.cumulative, header.price) = (state.cumulative, type(uint128).max);
        ITask.Signature[] memory signatures = _signatures(header, 1);
        if (how % 4 == 0) signatures[1] = signatures[0];
        if (how % 4 == 1) signatures[1] = _sign(COORDINATOR_KEY, keccak256("an outsider's"));
        if (how % 4 == 2) header.bundle = "another";
        if (how % 4 == 3) {
            ITask.Signature memory alone = signatures[1];
            signatures = new ITask.Signature[](1);
            signatures[0] = alone;
        }
        vm.prank(COORDINATOR);
        try fairshare.post(header, signatures, coverOf[id]) {
            broken = "a round was posted without its quorum";
        } catch {
            done[msg.sig]++;
        }
    }

    function leave(uint256 which, uint256 who) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        address client = clients[who % clients.length];
        vm.prank(client);
        try fairshare.leave(id) {
            if (fairshare.clientOf(id, client).firstRound == 0) staked[id][client] = 0; // before the start
            done[msg.sig]++;
        } catch {}
    }

    function release(uint256 which, uint256 who) external {
        (bytes32 id, bool ok) = _pick(which);
        if (ok) _release(id, clients[who % clients.length]);
    }

    function _release(bytes32 id, address client) internal {
        uint256 credit = fairshare.creditOf(address(token), client);
        uint256 stake = fairshare.clientOf(id, client).stake;
        try fairshare.release(id, client) {
            shares[id] += fairshare.creditOf(address(token), client) - credit - stake;
            staked[id][client] = 0;
            done[this.release.selector]++;
        } catch {}
    }

    function end(uint256 which, uint256 how) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        _end(id, how);
    }

    function withdraw(uint256 who) external {
        address[] memory all = _creditors();
        address account = all[who % all.length];
        if (account == BURNED) {
            for (uint256 i; i < taskIds.length; i++) {
                for (uint32 round = 1; round <= 6; round++) {
                    try court.burn(taskIds[i], round) {} catch {}
                }
            }
        }
        try fairshare.withdrawFor(address(token), account) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev The sponsor stops a task, closes its joining or opens it; somebody adds to its budget.
    function steer(uint256 which, uint256 how, uint256 amount) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        bytes memory call = abi.encodeCall(fairshare.setJoining, (id, how % 16 == 1));
        if (how % 8 == 0) call = abi.encodeCall(fairshare.stop, (id));
        if (how % 2 == 0 && how % 8 != 0) {
            amount = MIN_STAKE + amount % 1e20;
            call = abi.encodeCall(fairshare.addBudget, (id, uint128(amount)));
            _fund(SPONSOR, amount);
        }
        vm.prank(SPONSOR);
        (bool done_,) = address(fairshare).call(call);
        if (done_) done[how % 8 == 0 ? bytes4("stop") : how % 2 == 0 ? bytes4("more") : msg.sig]++;
    }

    function wait_(uint256 time) external {
        _awake();
        _wait(time % 4 == 0 ? time % 400 : time % 60);
        done[msg.sig]++;
    }

    /* EVALUATORS */

    /// @dev The liar shows all three evaluators' signatures under a round, of which the honest one made its own only where all is
    /// right, and tries a stake that is not free to go.
    function slash(uint256 which, uint256 whichRound, uint256 who) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        ITask.Header memory header = _header(id, round);
        bool right = posted[id][round - 1].lie == Lie.None;
        vm.prank(LIAR);
        try fairshare.slashEvaluators(header, _signatures(header, right ? 0 : 1)) {
            if (right) broken = "who signed what is right was slashed";
            for (uint256 i = 1; i < 3; i++) {
                backing[id][i] = 0;
            }
            done[msg.sig]++;
        } catch {}
        _releaseEvaluator(id, who % 3);
    }

    function _releaseEvaluator(bytes32 id, uint256 place) internal {
        (, ITask.State memory state) = fairshare.task(id);
        try fairshare.releaseEvaluator(id, vm.addr(evaluatorKeys[place])) {
            if (state.status != ITask.Status.Closed) broken = "a stake went home before the end";
            backing[id][place] = 0;
            done[bytes4("home")]++;
        } catch {}
    }

    /* CLAIMS */

    function claim(uint256 which, uint256 whichRound, uint256 who) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (ok && _claim(id, round, who % leavesOf[id][round].length)) done[msg.sig]++;
    }

    function _claim(bytes32 id, uint32 round, uint256 place) internal returns (bool) {
        ITask.Leaf memory leaf = leavesOf[id][round][place];
        bool final_ = fairshare.isFinal(id, round);
        uint256 balance = token.balanceOf(leaf.account);
        try fairshare.claim(payroll(_header(id, round)), leaf, _proof(id, round, place)) {
            if (!final_) broken = "paid from a round that is not final";
            _book(id, leaf.account, balance);
            return true;
        } catch {
            return false;
        }
    }

    /// @dev Some neighbours at once, by one proof for all or by one each and the first of them twice.
    function claimMany(uint256 which, uint256 whichRound, uint256 from, uint256 how) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        ITask.Leaf[] memory all = leavesOf[id][round];
        from = from % all.length;
        uint256[] memory balances = new uint256[](all.length);
        for (uint256 i = from; i < all.length; i++) {
            balances[i] = token.balanceOf(all[i].account);
        }
        bool final_ = fairshare.isFinal(id, round);
        bytes memory call = how % 2 == 0 ? _batch(id, round, from) : _range(id, round, from);
        (bool paid,) = address(fairshare).call(call);
        if (!paid) return;
        if (!final_) broken = "paid from a round that is not final";
        for (uint256 i = from; i < all.length; i++) {
            _book(id, all[i].account, balances[i]);
        }
        done[how % 2 == 0 ? bytes4("btch") : msg.sig]++;
    }

    function _batch(bytes32 id, uint32 round, uint256 from) internal view returns (bytes memory) {
        ITask.Leaf[] memory all = leavesOf[id][round];
        ITask.Leaf[] memory some = new ITask.Leaf[](all.length - from + 1);
        ITask.Proof[] memory proofs = new ITask.Proof[](some.length);
        for (uint256 i; i < some.length; i++) {
            uint256 place = from + i % (some.length - 1);
            (some[i], proofs[i]) = (all[place], _proof(id, round, place));
        }
        return abi.encodeCall(fairshare.claimBatch, (payroll(_header(id, round)), some, proofs));
    }

    function _range(bytes32 id, uint32 round, uint256 from) internal view returns (bytes memory) {
        ITask.Leaf[] memory all = leavesOf[id][round];
        ITask.Leaf[] memory some = new ITask.Leaf[](all.length - from);
        for (uint256 i; i < some.length; i++) {
            some[i] = all[from + i];
        }
        Tree.Node[][] memory levels = _levels(all, posted[id][round - 1].lie);
        bytes memory siblings = Tree.proveRange(levels, from, some.length);
        return abi.encodeCall(fairshare.claimRange, (payroll(_header(id, round)), uint32(from), some, siblings));
    }

    /// @dev A relayer takes a claim where its account signed, or tries to with an order for another round or recipient.
    function claimTo(uint256 which, uint256 whichRound, uint256 who, uint256 fee, uint256 bent) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        uint256 place = who % leavesOf[id][round].length;
        address account = leavesOf[id][round][place].account;
        if (keyOf[account] == 0) return; // an impostor
        ITask.Redirect memory redirect = ITask.Redirect(ELSEWHERE, uint128(fee % 1e18), uint40(clock), "");
        bytes32 digest = _redirectDigest(id, bent % 8 == 0 ? round + 1 : round, account, redirect);
        redirect.signature = _long(keyOf[account], digest);
        if (bent % 8 == 4) redirect.recipient = LIAR;
        uint256 amount = _claimTo(id, round, place, redirect);
        if (amount == 0) return;
        if (bent % 4 == 0) broken = "a claim went where its account did not send it";
        received[id][account] += amount;
        done[msg.sig]++;
    }

    function _claimTo(bytes32 id, uint32 round, uint256 place, ITask.Redirect memory redirect)
        internal
        returns (uint256 amount)
    {
        bool final_ = fairshare.isFinal(id, round);
        uint256 balance = token.balanceOf(redirect.recipient) + token.balanceOf(RELAYER);
        vm.prank(RELAYER);
        try fairshare.claimTo(payroll(_header(id, round)), leavesOf[id][round][place], _proof(id, round, place), redirect) {
            if (!final_) broken = "paid from a round that is not final";
            amount = token.balanceOf(redirect.recipient) + token.balanceOf(RELAYER) - balance;
        } catch {}
    }

    function _redirectDigest(bytes32 id, uint32 round, address account, ITask.Redirect memory redirect)
        internal
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256(
            "Redirect(bytes32 taskId,uint32 round,address account,address recipient,uint128 fee,uint40 deadline)"
        );
        (address recipient, uint128 fee, uint40 deadline) = (redirect.recipient, redirect.fee, redirect.deadline);
        return _typed(keccak256(abi.encode(typehash, id, round, account, recipient, fee, deadline)));
    }

    function _book(bytes32 id, address account, uint256 balance) internal {
        uint256 amount = token.balanceOf(account) - balance;
        received[id][account] += amount;
        kept[account] += amount;
    }

    /* THE END: what anyone can do until nothing is left */

    function drain() external {
        _awake();
        _wait(1000);
        for (uint256 i; i < taskIds.length; i++) {
            _settle(taskIds[i]);
        }
        while (owed.length > 0) {
            _payOwed(owed.length - 1);
        }
        for (uint256 i; i < taskIds.length; i++) {
            _wait(1200);
            for (uint256 how; how < 3; how++) {
                _end(taskIds[i], how);
            }
            _payAll(taskIds[i]);
            for (uint256 j; j < clients.length; j++) {
                _release(taskIds[i], clients[j]); // with its share of a pool by stake
            }
            _wait(3600);
            _end(taskIds[i], 3);
            for (uint256 j; j < 3; j++) {
                _releaseEvaluator(taskIds[i], j);
            }
            for (uint256 j; j < clients.length; j++) {
                _release(taskIds[i], clients[j]);
            }
        }
        uint256 creditors = _creditors().length;
        for (uint256 who; who < creditors; who++) {
            this.withdraw(who);
        }
        _requireNobodyHonestLost();
    }

    /// @dev Everybody claims from its last final leaf. Where all of the final rounds are honest, everybody is paid by then
    /// exactly what that leaf promises, whoever was hostile since. Not if the run itself let the claim period pass.
    function _payAll(bytes32 id) internal {
        (, ITask.State memory state) = fairshare.task(id);
        if (state.swept) return;
        uint32 last;
        bool sound = true;
        for (uint32 round = 1; round <= posted[id].length && fairshare.isFinal(id, round); round++) {
            last = round;
            sound = sound && posted[id][round - 1].lie == Lie.None;
        }
        if (last == 0) return;
        ITask.Leaf[] memory leaves = leavesOf[id][last];
        for (uint256 i; i < leaves.length; i++) {
            _claim(id, last, i);
            uint256 worth = leaves[i].cumulative;
            if (state.pool != 0 && last == state.posted && worth != 0) worth += state.pool * worth / state.poolBase;
            if (sound && fairshare.clientOf(id, leaves[i].account).claimed != worth) {
                broken = "a client was not paid what it earned";
            }
        }
        if (sound) done[bytes4("paid")]++;
    }

    function _requireNobodyHonestLost() internal {
        if (token.balanceOf(WATCHER) < put[WATCHER]) broken = "who proved what is wrong lost by it";
        if (token.balanceOf(REFUTER) < put[REFUTER]) broken = "who refuted what is wrong lost by it";
        address first = vm.addr(evaluatorKeys[0]);
        if (token.balanceOf(first) < put[first]) broken = "an evaluator that signed nothing wrong lost its stake";
        for (uint256 i; i < HONEST_CLIENTS; i++) {
            if (token.balanceOf(clients[i]) < put[clients[i]] + kept[clients[i]]) broken = "an honest client lost its stake";
        }
    }

    /* FOR THE INVARIANTS */

    function tasks() external view returns (bytes32[] memory) {
        return taskIds;
    }

    function credits() external view returns (uint256 sum) {
        address[] memory all = _creditors();
        for (uint256 i; i < all.length; i++) {
            sum += fairshare.creditOf(address(token), all[i]);
        }
    }

    function accounts(bytes32 id) external view returns (ITask.Client[] memory all) {
        all = new ITask.Client[](clients.length);
        for (uint256 i; i < all.length; i++) {
            all[i] = fairshare.clientOf(id, clients[i]);
        }
    }

    /* INTERNAL */

    function _creditors() internal view returns (address[] memory all) {
        all = new address[](clients.length + 9);
        for (uint256 i; i < 3; i++) {
            all[11 + i] = vm.addr(evaluatorKeys[i]);
        }
        for (uint256 i; i < clients.length; i++) {
            all[i] = clients[i];
        }
        (all[5], all[6], all[7], all[8], all[9], all[10]) = (SPONSOR, COORDINATOR, WATCHER, REFUTER, LIAR, BURNED);
    }

    /// @dev The leaves of a round before its payout, and honest scores.
    function _moved(bytes32 id, uint32 round, uint256 luck, uint64 blocks)
        internal
        view
        returns (ITask.Leaf[] memory leaves, int128[] memory scores)
    {
        ITask.Client[] memory all = new ITask.Client[](clients.length);
        uint256 count;
        for (uint256 i; i < all.length; i++) {
            all[i] = fairshare.clientOf(id, clients[i]);
            if (all[i].firstRound != 0 && all[i].firstRound <= round) count++;
        }
        leaves = new ITask.Leaf[](count);
        scores = new int128[](count);
        count = 0;
        ITask.Leaf[] memory earlier = leavesOf[id][round - 1];
        for (uint256 i; i < all.length; i++) {
            if (all[i].firstRound == 0 || all[i].firstRound > round) continue;
            ITask.Leaf memory leaf = leaves[count];
            leaf.account = clients[i];
            for (uint256 j; j < earlier.length; j++) {
                if (earlier[j].account == clients[i] || earlier[j].account == _impostor(clients[i])) {
                    (leaf.total, leaf.cumulative) = (earlier[j].total, earlier[j].cumulative);
                }
            }
            bool positive = (luck >> (8 + i)) & 1 == 1;
            leaf.updateRoot = _updateRoot(positive, blocks);
            if (all[i].leftRound == 0 || round < all[i].leftRound) leaf.weight = uint32(luck >> (32 + 16 * i)) | 2 ** 20;
            int256 raw = int256(positive ? upSum : downSum) * int256(uint256(blocks));
            scores[count] = int128(raw * int256(uint256(leaf.weight)) >> 32);
            count++;
        }
    }

    function _end(bytes32 id, uint256 how) internal {
        bytes memory call;
        if (how % 4 == 0) {
            call = abi.encodeCall(fairshare.expire, (id));
        } else if (how % 4 == 1) {
            call = abi.encodeCall(fairshare.close, (id));
        } else if (how % 4 == 2) {
            (, ITask.State memory state) = fairshare.task(id);
            ITask.Header memory last;
            last.taskId = id;
            if (state.posted != 0 && state.posted <= posted[id].length) last = _header(id, state.posted);
            call = abi.encodeCall(fairshare.closeHalted, (last));
        } else {
            call = abi.encodeCall(fairshare.sweep, (id));
        }
        (bool ended,) = address(fairshare).call(call);
        if (ended) done[this.end.selector]++;
        if (ended && how % 4 == 2) done[bytes4("halt")]++;
    }
}
