// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {Fairshare} from "../../src/Fairshare.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "../world/Blocks.sol";
import {Payout} from "../world/Payout.sol";
import {Tree} from "../world/Tree.sol";
import {Vm, vm} from "../world/Vm.sol";

/// @notice Plays all parties of up to four tasks in one token.
contract Handler {
    struct Posted {
        ITask.Header header;
        bool lie; // somebody was robbed, or scored wrongly
    }

    struct Open {
        IDisputes.Challenge challenge;
        bool right; // the score is wrong
        bool positive; // which of the two updates the leaf has
        int128 sum;
    }

    address internal constant SPONSOR = address(0x5907);
    address internal constant WATCHER = address(0x3A7C);
    address internal constant BURNED = address(0xdEaD);
    uint256 internal constant EVALUATOR_KEY = 0xE1;
    address internal COORDINATOR = address(0xC00);

    Fairshare public immutable fairshare;
    IDisputes internal immutable court;
    DevToken public immutable token;

    bytes32[] public taskIds;
    address[] public clients; // ascending
    mapping(bytes32 id => Posted[]) internal posted;
    mapping(bytes32 id => mapping(uint256 round => ITask.Leaf[])) internal leavesOf;
    mapping(bytes32 id => Open[]) internal challenges;
    mapping(bytes32 id => bool) public lied;
    mapping(bytes32 id => mapping(address => uint256)) public received; // by claims
    uint256 public challengeBonds; // held now
    uint256 public clock = 1_700_000_000;
    mapping(bytes4 => uint256) public done; // calls that did something
    string public broken; // a promise that a call found broken

    bytes internal direction = Blocks.random(1, -31);
    bytes internal up = Blocks.random(2, -30); // scores above or below 0, whichever; `down` is its mirror
    bytes internal down;
    int128 internal upSum;
    int128 internal downSum;
    bytes32 internal upRoot;
    bytes32 internal downRoot;
    bytes32 internal directionRoot;

    constructor(Fairshare fairshare_, DevToken token_) {
        fairshare = fairshare_;
        court = IDisputes(address(fairshare_));
        token = token_;
        down = up;
        for (uint256 k; k < 256; k++) {
            int16 value = int16(uint16(uint8(up[1 + 2 * k])) << 8 | uint16(uint8(up[2 + 2 * k])));
            bytes2 mirrored = bytes2(uint16(value == type(int16).min ? type(int16).max : -value));
            (down[1 + 2 * k], down[2 + 2 * k]) = (mirrored[0], mirrored[1]);
        }
        upSum = int128(Blocks.partialSum(up, direction));
        downSum = int128(Blocks.partialSum(down, direction));
        upRoot = Blocks.root(1, Blocks.leaf(up));
        downRoot = Blocks.root(1, Blocks.leaf(down));
        directionRoot = Blocks.root(1, Blocks.leaf(direction));
        for (uint256 i; i < 5; i++) {
            clients.push(address(uint160((i + 1) << 152 | 0xC11E47)));
        }
        vm.warp(clock);
    }

    /* ACTIONS */

    function open(uint96 budget, uint96 bond, uint8 rounds) external {
        if (taskIds.length == 4) return;
        address[] memory evaluators = new address[](1);
        evaluators[0] = vm.addr(EVALUATOR_KEY);
        ITask.Terms memory terms = ITask.Terms({
            token: address(token),
            coordinator: COORDINATOR,
            evaluators: evaluators,
            quorum: 1,
            revealEachRound: true,
            attested: false,
            rounds: rounds % 6 + 1,
            challengeWindow: 100,
            responseWindow: 40,
            roundTimeout: 1000,
            claimPeriod: 1000,
            budget: budget % 1e24 + 1,
            bond: bond % 1e22,
            minStake: 1e18,
            maxStake: 5e18,
            specHash: 0,
            validationHash: 0,
            baseModel: 0,
            salt: bytes32(taskIds.length)
        });
        _fund(SPONSOR, uint256(terms.budget) + terms.bond);
        vm.prank(SPONSOR);
        taskIds.push(fairshare.open(terms));
        done[msg.sig]++;
    }

    function join(uint256 which, uint256 who, uint128 stake) external {
        (bytes32 id, bool ok) = _pick(which);
        address client = clients[who % clients.length];
        if (!ok || fairshare.clientOf(id, client).firstRound != 0) return;
        stake = 1e18 + stake % 4e18;
        _fund(client, stake);
        vm.prank(client);
        try fairshare.join(id, stake, "", 0) {
            done[msg.sig]++;
        } catch {}
    }

    function start(uint256 which) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        vm.prank(COORDINATOR);
        try fairshare.start(id) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev Three rounds in eight are lies: a theft or a wrong score.
    function post(uint256 which, uint256 luck) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(id);
        if (state.status != ITask.Status.Started || state.posted == terms.rounds) return;
        uint32 round = state.posted + 1;
        (ITask.Leaf[] memory leaves, int128[] memory scores) = _moved(id, round, luck);
        uint256 kind = luck % 8;
        if (kind == 0) scores[0] += 1 + int128(uint128(luck % 1e6)); // a wrong score
        uint256 pot = (terms.budget - state.cumulative) / (terms.rounds - state.posted);
        Payout.settle(leaves, scores, pot);
        uint256 last = leaves.length - 1;
        bool theft = kind < 3 && kind > 0 && last != 0 && leaves[last].cumulative >= 2;
        if (theft) (leaves[0].cumulative, leaves[last].cumulative) = (leaves[0].cumulative + 2, leaves[last].cumulative - 2);
        _send(id, round, leaves, pot, kind == 0 || theft);
        done[msg.sig]++;
    }

    function _send(bytes32 id, uint32 round, ITask.Leaf[] memory leaves, uint256 pot, bool lie) internal {
        Tree.Node memory top = Tree.root(leaves);
        ITask.Header memory header;
        header.taskId = id;
        header.round = round;
        if (round > 1) header.previous = fairshare.headerDigest(posted[id][round - 2].header);
        header.directionRoot = directionRoot;
        header.leafCount = uint32(leaves.length);
        (header.treeRoot, header.entitlement, header.cumulative) = (top.node, top.entitlement, top.cumulative);
        header.pot = uint128(pot);
        ITask.Signature[] memory signatures = new ITask.Signature[](1);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(EVALUATOR_KEY, fairshare.headerDigest(header));
        signatures[0] = ITask.Signature(r, bytes32(uint256(s) | uint256(v - 27) << 255));
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures);
        posted[id].push(Posted(header, lie));
        for (uint256 i; i < leaves.length; i++) {
            leavesOf[id][round].push(leaves[i]);
        }
        if (lie) lied[id] = true;
    }

    function claim(uint256 which, uint256 whichRound, uint256 who) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        ITask.Leaf[] memory leaves = leavesOf[id][round];
        ITask.Leaf memory leaf = leaves[who % leaves.length];
        bool final_ = fairshare.isFinal(id, round);
        uint256 balance = token.balanceOf(leaf.account);
        try fairshare.claim(posted[id][round - 1].header, leaf, Tree.prove(leaves, who % leaves.length)) {
            if (!final_) broken = "paid from a round that is not final";
            received[id][leaf.account] += token.balanceOf(leaf.account) - balance;
            done[msg.sig]++;
        } catch {}
    }

    function claimRange(uint256 which, uint256 whichRound, uint256 from) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        ITask.Leaf[] memory all = leavesOf[id][round];
        from = from % all.length;
        ITask.Leaf[] memory some = new ITask.Leaf[](all.length - from);
        uint256[] memory balances = new uint256[](some.length);
        for (uint256 i; i < some.length; i++) {
            some[i] = all[from + i];
            balances[i] = token.balanceOf(some[i].account);
        }
        bool final_ = fairshare.isFinal(id, round);
        ITask.Sibling[] memory siblings = Tree.proveRange(Tree.levels(all), from, some.length);
        try fairshare.claimRange(posted[id][round - 1].header, uint32(from), some, siblings) {
            if (!final_) broken = "paid from a round that is not final";
            for (uint256 i; i < some.length; i++) {
                received[id][some[i].account] += token.balanceOf(some[i].account) - balances[i];
            }
            done[msg.sig]++;
        } catch {}
    }

    function leave(uint256 which, uint256 who) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        vm.prank(clients[who % clients.length]);
        try fairshare.leave(id) {
            done[msg.sig]++;
        } catch {}
    }

    function release(uint256 which, uint256 who) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        try fairshare.release(id, clients[who % clients.length]) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev Somebody tries to convict the coordinator of a transition, rightly or not.
    function prove(uint256 which, uint256 whichRound, uint256 who) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        uint256 count = leavesOf[id][round].length;
        for (uint256 i; i < count; i++) {
            if (_prove(id, round, (who % count + i) % count)) return;
        }
    }

    function _prove(bytes32 id, uint32 round, uint256 at) internal returns (bool) {
        ITask.Leaf[] memory leaves = leavesOf[id][round];
        (ITask.Leaf memory leafBefore, ITask.Proof memory proofBefore) = _before(id, round, leaves[at].account);
        ITask.Header memory header = posted[id][round - 1].header;
        ITask.Header memory before = posted[id][round > 1 ? round - 2 : 0].header;
        ITask.Proof memory proof = Tree.prove(leaves, at);
        vm.prank(WATCHER);
        try court.proveTransition(before, leafBefore, proofBefore, header, leaves[at], proof) {
            if (!posted[id][round - 1].lie) broken = "an honest round was convicted";
            done[this.prove.selector]++;
            return true;
        } catch {
            return false;
        }
    }

    function _before(bytes32 id, uint32 round, address account)
        internal
        view
        returns (ITask.Leaf memory leaf, ITask.Proof memory proof)
    {
        ITask.Leaf[] memory earlier = leavesOf[id][round - 1];
        for (uint256 i; i < earlier.length; i++) {
            if (earlier[i].account == account) return (earlier[i], Tree.prove(earlier, i));
        }
    }

    function challenge(uint256 which, uint256 whichRound, uint256 who, int64 wrong) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        ITask.Leaf[] memory leaves = leavesOf[id][round];
        uint256 at = who % 2 == 0 ? 0 : who % leaves.length; // wrong scores are the first leaf's
        Open memory o;
        o.positive = leaves[at].updateRoot == upRoot;
        int128 truth = o.positive ? upSum : downSum;
        o.right = (int256(truth) * int256(uint256(leaves[at].weight))) >> 32 != leaves[at].score;
        o.sum = o.right ? truth : truth + (int128(wrong) | 1) * 2 ** 40;
        _fund(WATCHER, 1e18);
        bytes32 top = Blocks.leaf(o.positive ? up : down);
        ITask.Proof memory proof = Tree.prove(leaves, at);
        _challenge(posted[id][round - 1].header, leaves[at], proof, top, o);
    }

    function _challenge(
        ITask.Header memory header,
        ITask.Leaf memory leaf,
        ITask.Proof memory proof,
        bytes32 top,
        Open memory o
    ) internal {
        vm.recordLogs();
        vm.prank(WATCHER);
        try court.challengeScore(header, leaf, proof, 1, top, abi.encodePacked(o.sum)) returns (bytes32) {
            o.challenge = _opened();
            challenges[header.taskId].push(o);
            challengeBonds += 1e18;
            done[this.challenge.selector]++;
        } catch {}
    }

    function refute(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok || challenges[id].length == 0) return;
        _refute(id, whichChallenge % challenges[id].length);
    }

    function uphold(uint256 which, uint256 whichChallenge) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok || challenges[id].length == 0) return;
        _uphold(id, whichChallenge % challenges[id].length);
    }

    function end(uint256 which, uint256 how) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        _end(id, how);
    }

    function withdraw(uint256 who) external {
        if (who % 8 == 7) {
            for (uint256 i; i < taskIds.length; i++) {
                try court.burn(taskIds[i]) {} catch {}
            }
        }
        address account = who % 8 < 5 ? clients[who % 8] : who % 8 == 5 ? SPONSOR : who % 8 == 6 ? WATCHER : BURNED;
        try fairshare.withdrawFor(address(token), account) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev Time passes, but the watcher is awake: what is false is refuted first.
    function wait_(uint16 time) external {
        for (uint256 i; i < taskIds.length; i++) {
            for (uint256 j = challenges[taskIds[i]].length; j > 0; j--) {
                if (!challenges[taskIds[i]][j - 1].right) _refute(taskIds[i], j - 1);
            }
        }
        _wait(time % 4 == 0 ? time % 400 : time % 60);
        done[msg.sig]++;
    }

    /* THE END: what anyone can do until nothing is left */

    function drain() external {
        this.wait_(0);
        for (uint256 i; i < taskIds.length; i++) {
            bytes32 id = taskIds[i];
            _wait(1000);
            while (challenges[id].length > 0) {
                _uphold(id, challenges[id].length - 1);
            }
            for (uint256 how; how < 2; how++) {
                _end(id, how);
            }
            _wait(1000);
            _end(id, 2);
            for (uint256 j; j < clients.length; j++) {
                if (fairshare.clientOf(id, clients[j]).stake != 0) fairshare.release(id, clients[j]);
            }
        }
        for (uint256 who; who < 8; who++) {
            this.withdraw(who);
        }
    }

    /* FOR THE INVARIANTS */

    function tasks() external view returns (bytes32[] memory) {
        return taskIds;
    }

    function credits() external view returns (uint256 sum) {
        for (uint256 i; i < clients.length; i++) {
            sum += fairshare.creditOf(address(token), clients[i]);
        }
        sum += fairshare.creditOf(address(token), SPONSOR);
        sum += fairshare.creditOf(address(token), WATCHER);
        sum += fairshare.creditOf(address(token), BURNED);
    }

    function accounts(bytes32 id) external view returns (ITask.Client[] memory all) {
        all = new ITask.Client[](clients.length);
        for (uint256 i; i < all.length; i++) {
            all[i] = fairshare.clientOf(id, clients[i]);
        }
    }

    /* INTERNAL */

    function _pick(uint256 which) internal view returns (bytes32 id, bool ok) {
        if (taskIds.length == 0) return (0, false);
        return (taskIds[which % taskIds.length], true);
    }

    function _pickRound(uint256 which, uint256 whichRound) internal view returns (bytes32 id, uint32 round, bool ok) {
        (id, ok) = _pick(which);
        if (!ok || posted[id].length == 0) return (id, 0, false);
        round = uint32(whichRound % posted[id].length + 1);
    }

    /// @dev The leaves of a round before its payout, and honest scores.
    function _moved(bytes32 id, uint32 round, uint256 luck)
        internal
        view
        returns (ITask.Leaf[] memory leaves, int128[] memory scores)
    {
        uint256 count;
        for (uint256 i; i < clients.length; i++) {
            uint32 first = fairshare.clientOf(id, clients[i]).firstRound;
            if (first != 0 && first <= round) count++;
        }
        leaves = new ITask.Leaf[](count);
        scores = new int128[](count);
        count = 0;
        ITask.Leaf[] memory earlier = leavesOf[id][round - 1];
        for (uint256 i; i < clients.length; i++) {
            ITask.Client memory client = fairshare.clientOf(id, clients[i]);
            if (client.firstRound == 0 || client.firstRound > round) continue;
            ITask.Leaf memory leaf = leaves[count];
            for (uint256 j; j < earlier.length; j++) {
                if (earlier[j].account == clients[i]) {
                    (leaf.balance, leaf.cumulative) = (earlier[j].balance, earlier[j].cumulative);
                }
            }
            leaf.account = clients[i];
            bool positive = (luck >> (8 + i)) & 1 == 1;
            leaf.updateRoot = positive ? upRoot : downRoot;
            if (client.leftRound == 0 || round < client.leftRound) {
                leaf.weight = uint32(luck >> (32 + 16 * i)) | 2 ** 20;
            }
            int256 sum = positive ? upSum : downSum;
            scores[count] = int128(sum * int256(uint256(leaf.weight)) >> 32);
            count++;
        }
    }

    function _opened() internal returns (IDisputes.Challenge memory c) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; i++) {
            if (logs[i].topics[0] == IDisputes.Challenged.selector) {
                (c,) = abi.decode(logs[i].data, (IDisputes.Challenge, bytes));
            }
        }
    }

    function _refute(bytes32 id, uint256 at) internal {
        Open memory o = challenges[id][at];
        IDisputes.Opening memory update = IDisputes.Opening(o.positive ? up : down, new bytes32[](0));
        IDisputes.Opening memory right = IDisputes.Opening(direction, new bytes32[](0));
        vm.prank(WATCHER);
        try court.refute(o.challenge, 0, update, right, o.sum, new bytes32[](0)) {
            if (o.right) broken = "a right challenge was refuted";
            _forget(id, at);
            done[this.refute.selector]++;
        } catch {
            if (!o.right) broken = "a false challenge could not be refuted";
        }
    }

    function _uphold(bytes32 id, uint256 at) internal {
        Open memory o = challenges[id][at];
        try court.uphold(o.challenge, posted[id][o.challenge.round - 1].header) {
            if (!o.right) broken = "a false challenge was upheld";
            _forget(id, at);
            done[this.uphold.selector]++;
        } catch {}
    }

    function _forget(bytes32 id, uint256 at) internal {
        challenges[id][at] = challenges[id][challenges[id].length - 1];
        challenges[id].pop();
        challengeBonds -= 1e18;
    }

    function _end(bytes32 id, uint256 how) internal {
        if (how % 3 == 0) {
            try fairshare.expire(id) {
                done[this.end.selector]++;
            } catch {}
        } else if (how % 3 == 1) {
            try fairshare.close(id) {
                done[this.end.selector]++;
            } catch {}
        } else {
            try fairshare.sweep(id) {
                done[this.end.selector]++;
            } catch {}
        }
    }

    function _wait(uint256 time) internal {
        clock += time;
        vm.warp(clock);
    }

    function _fund(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(fairshare), type(uint256).max);
    }
}
