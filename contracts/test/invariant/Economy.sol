// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "../world/Blocks.sol";
import {coverAfter} from "../world/Covers.sol";
import {Escrow} from "../world/Escrow.sol";
import {Payout} from "../world/Payout.sol";
import {payroll} from "../world/Payroll.sol";
import {Tree} from "../world/Tree.sol";
import {vm} from "../world/Vm.sol";

/// @notice One task and one coalition: any of its sponsor, its coordinator and its four clients, and an accomplice whom
/// nobody knows. Those inside do whatever pays; those outside do what they should, with no more money than that takes. Fewer
/// than a quorum of evaluators are inside, so that every tree is right; but in some games a quorum signs what the coordinator
/// shows it, and a watcher challenges wrong scores. Every round has the same scores, so that what each would have had by
/// going on is known.
contract Economy {
    struct Challenged {
        IDisputes.Challenge challenge;
        uint32 round;
        bool open;
        uint256 demandedAt; // by an honest coordinator, 0 if it has demanded nothing
    }

    struct Demanded {
        uint256 challenge;
        uint64 sum;
    }

    uint256 internal constant SPONSOR = 0;
    uint256 internal constant COORDINATOR = 1;
    uint256 internal constant FIRST = 2; // of four clients
    uint256 internal constant ACCOMPLICE = 6;
    uint256 internal constant WATCHER = 7;
    uint256 internal constant EVALUATOR = 8; // the first of three, ascending
    uint256 internal constant PEOPLE = 11;
    uint64 internal constant MANY = 8192; // blocks: two in each of 4,096 sums
    uint128 internal constant MIN_STAKE = 1e18;
    uint256 internal constant DUST = 64; // wei that rounding may move

    Escrow public immutable escrow;
    DevToken public immutable token;
    bytes32 internal immutable domain;

    uint256[PEOPLE] internal keys;
    address[PEOPLE] internal people; // clients ascending
    uint256[PEOPLE] internal put; // minted to them
    uint256 internal inside; // the coalition, a bit each
    uint256 internal evaluatorStake;

    bytes32 public id;
    uint256 internal budget; // of the sponsor
    bytes32 internal cover;
    uint256 internal clock = 1_700_000_000;
    ITask.Header[] internal headers;
    mapping(uint256 round => ITask.Leaf[]) internal leavesOf;
    Challenged[] internal challenges;
    mapping(uint256 round => bool[4]) internal asked; // leaves that are not shown yet
    Demanded[] internal demands; // by the accomplice, of its own challenges
    bool internal large; // updates of many equal blocks
    bool internal captured; // the evaluators sign whatever the coordinator shows them
    uint256 internal liar; // 1 + the client whose score the round that is posted exaggerates
    mapping(uint256 round => uint256) internal lied; // the same of posted rounds
    mapping(uint256 round => bool) internal failed; // a challenge of it
    string public broken;
    mapping(bytes4 => uint256) public done;

    bytes internal update = Blocks.random(1, -30);
    bytes internal direction = Blocks.random(2, -31);
    int128 internal each = int128(Blocks.partialSum(update, direction)); // of a block

    constructor(Escrow escrow_, DevToken token_) {
        (escrow, token) = (escrow_, token_);
        domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Fairshare"),
                keccak256("1"),
                block.chainid,
                address(escrow_)
            )
        );
        for (uint256 i; i < PEOPLE; i++) {
            keys[i] = 0x9000 + i;
        }
        _sort(FIRST, 4);
        _sort(EVALUATOR, 3);
        for (uint256 i; i < PEOPLE; i++) {
            people[i] = vm.addr(keys[i]);
        }
        vm.warp(clock);
    }

    function _sort(uint256 from, uint256 count) internal {
        for (uint256 i = from; i < from + count; i++) {
            for (uint256 j = from; j + 1 < from + count; j++) {
                if (vm.addr(keys[j]) > vm.addr(keys[j + 1])) (keys[j], keys[j + 1]) = (keys[j + 1], keys[j]);
            }
        }
    }

    /* A TASK */

    /// @dev Budget and bond of any size to each other, stakes 1 to 4 by client, and any coalition.
    function open(uint256 coalition, uint256 luck) external {
        if (id != 0) return;
        inside = coalition % 64 | 1 << ACCOMPLICE;
        large = (luck >> 240) % 4 == 0;
        captured = !large && _isIn(COORDINATOR) && (luck >> 248) % 2 == 0;
        budget = 1e20 + luck % 1e22;
        // One evaluator of three is inside, or none.
        if (!captured && coalition >> 8 & 1 == 1) inside |= 1 << EVALUATOR + (coalition >> 9) % 3;
        evaluatorStake = coalition >> 16 & 1 == 0 ? 0 : MIN_STAKE + (coalition >> 32) % 1e21;
        ITask.Terms memory terms;
        terms.token = address(token);
        terms.coordinator = people[COORDINATOR];
        terms.evaluators = new address[](3);
        for (uint256 i; i < 3; i++) {
            terms.evaluators[i] = people[EVALUATOR + i];
        }
        (terms.quorum, terms.mayStop, terms.rounds) = (2, true, uint32(luck >> 128) % 8 + 1);
        (terms.challengeWindow, terms.responseWindow, terms.roundTimeout, terms.claimPeriod) = (100, captured ? 110 : 40, 1000, 3600);
        terms.budget = uint128(budget);
        terms.bond = uint128(MIN_STAKE + (luck >> 160) % (luck % 2 == 0 ? 1e20 : 1e22));
        (terms.minStake, terms.maxStake, terms.evaluatorStake) = (MIN_STAKE, 4 * MIN_STAKE, uint128(evaluatorStake));
        _fund(SPONSOR, budget);
        vm.prank(people[SPONSOR]);
        id = escrow.open(terms);
        for (uint256 i = EVALUATOR; i < PEOPLE && evaluatorStake != 0; i++) {
            _fund(i, evaluatorStake);
            vm.prank(people[i]);
            escrow.stakeEvaluator(id, people[i], "");
        }
        for (uint256 i; i < 4; i++) {
            _fund(FIRST + i, _stake(i));
            vm.prank(people[FIRST + i]);
            escrow.join(id, uint128(_stake(i)), "", 0, new bytes32[](0));
        }
        _fund(COORDINATOR, terms.bond);
        vm.prank(people[COORDINATOR]);
        escrow.start(id);
        done[msg.sig]++;
    }

    function _stake(uint256 client) internal pure returns (uint256) {
        return (client + 1) * MIN_STAKE;
    }

    /// @dev A round that is right, unless somebody lies in it.
    function post() public {
        if (id == 0) return;
        (ITask.Terms memory terms, ITask.State memory state) = escrow.task(id);
        if (state.status != ITask.Status.Started || state.posted == state.rounds) return;
        uint32 round = state.posted + 1;
        ITask.Leaf[] memory leaves = new ITask.Leaf[](4);
        int128[] memory scores = new int128[](4);
        for (uint256 i; i < 4; i++) {
            if (round > 1) leaves[i] = leavesOf[round - 1][i];
            leaves[i].account = people[FIRST + i];
            leaves[i].updateRoot = _root(update);
            leaves[i].weight = uint64((i + 1) << 20);
            scores[i] = int128(int256((i + 1) * (i + 1 == liar ? 2 ** 44 : 2 ** 40)));
        }
        ITask.Header memory header;
        (header.taskId, header.round, header.leafCount, header.enrolment) = (id, round, 4, state.enrolment);
        uint256 allowed = round == state.rounds ? state.budget : state.budget * round / state.rounds;
        header.price = Payout.settle(leaves, scores, allowed);
        if (round > 1) header.previous = escrow.headerHash(headers[round - 2]);
        Tree.Node memory top = Tree.root(leaves);
        (header.treeRoot, header.cumulative) = (top.node, top.cumulative);
        header.directionRoot = _root(direction);
        if (!_send(header, terms, state)) return;
        for (uint256 i; i < 4; i++) {
            leavesOf[round].push(leaves[i]);
        }
        lied[round] = liar;
        done[this.post.selector]++;
    }

    function _send(ITask.Header memory header, ITask.Terms memory terms, ITask.State memory state)
        internal
        returns (bool)
    {
        bytes32 next = coverAfter(cover, terms, state, clock, header.cumulative);
        ITask.Signature[] memory signatures = _signatures(header, 2);
        vm.prank(people[COORDINATOR]);
        try escrow.post(header, signatures, cover) {
            cover = next;
            headers.push(header);
            return true;
        } catch {
            return false; // the bond does not cover it yet
        }
    }

    function _signatures(ITask.Header memory header, uint256 count)
        internal
        view
        returns (ITask.Signature[] memory signatures)
    {
        signatures = new ITask.Signature[](count);
        for (uint256 i; i < count; i++) {
            signatures[i] = _sign(keys[EVALUATOR + i], escrow.headerDigest(header));
        }
    }

    /* WHAT A COALITION MAY TRY */

    function _isIn(uint256 who) internal view returns (bool) {
        return inside >> who & 1 == 1;
    }

    /// @dev The coordinator signs a receipt for bytes that nobody ever sees, and the accomplice proves the omission.
    function omit(uint256 which, uint256 whichLeaf) external {
        if (!_isIn(COORDINATOR) || headers.length == 0) return;
        uint256 round = which % headers.length + 1;
        ITask.Leaf memory leaf = leavesOf[round][whichLeaf % 4];
        bytes32 invented = keccak256("bytes that nobody can show");
        bytes32 typehash = keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");
        bytes32 digest = _typed(keccak256(abi.encode(typehash, id, uint32(round), leaf.account, invented)));
        ITask.Proof memory proof = Tree.prove(leavesOf[round], whichLeaf % 4);
        vm.prank(people[ACCOMPLICE]);
        try escrow.proveOmission(headers[round - 1], leaf, proof, invented, _sign(keys[COORDINATOR], digest)) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev The accomplice challenges a score with sums of its own. An honest coordinator does away with it as soon as time
    /// passes.
    function challenge(uint256 which, uint256 whichLeaf, uint256 lie_) public {
        if (headers.length == 0) return;
        int128 lie = int128(int256(lie_ % 2 ** 100 | 1)) * -(2 ** 20); // makes a loss
        if (_challenge(ACCOMPLICE, which % headers.length + 1, whichLeaf % 4, lie)) done[this.challenge.selector]++;
    }

    /// @param lie What the first sum has too much, 0 for the right sums.
    function _challenge(uint256 who, uint256 round, uint256 place, int128 lie) internal returns (bool) {
        ITask.Leaf memory leaf = leavesOf[round][place];
        ITask.Header memory header = headers[round - 1];
        ITask.Proof memory proof = Tree.prove(leavesOf[round], place);
        (bytes memory sums, bytes32 root) = _sums(lie);
        _fund(who, escrow.challengeBond(id));
        bytes32 top = _top(update);
        vm.prank(people[who]);
        try escrow.challengeScore(header, leaf, proof, _blocks(), top, sums) {
            IDisputes.Challenge memory made;
            (made.taskId, made.round, made.account) = (id, uint32(round), leaf.account);
            (made.challenger, made.openedAt) = (people[who], uint40(clock));
            (made.updateRoot, made.directionRoot) = (leaf.updateRoot, header.directionRoot);
            (made.blocks, made.sumsRoot) = (_blocks(), root);
            challenges.push(Challenged(made, uint32(round), true, 0));
            lies.push(each + lie);
            return true;
        } catch {
            return false;
        }
    }

    /// @dev The accomplice demands ten right sums of its own challenge and breaks them down, so that another's demand gets
    /// dear, if it could.
    function demandOwn(uint256 which) external {
        if (!large || challenges.length == 0) return;
        uint256 at = which % challenges.length;
        Challenged memory c = challenges[at];
        (,, bytes32[] memory path) = _halves(lies[at] - each);
        for (uint64 i; i < 10; i++) {
            _fund(ACCOMPLICE, (i + 1) * MIN_STAKE);
            vm.prank(people[ACCOMPLICE]);
            try escrow.demand(c.challenge, 4095 - i) {
                demands.push(Demanded(at, 4095 - i));
            } catch {
                return;
            }
            vm.prank(people[ACCOMPLICE]);
            escrow.answer(c.challenge, 4095 - i, 2 * each, path, abi.encodePacked(each, each));
        }
        done[msg.sig]++;
    }

    /// @dev A coordinator whose evaluators sign anything exaggerates the score of a client that is inside.
    function lie(uint256 who) external {
        if (!captured || !_isIn(FIRST + who % 4)) return;
        uint256 before = headers.length;
        liar = who % 4 + 1;
        post();
        liar = 0;
        if (headers.length != before) done[msg.sig]++;
    }

    /// @dev The accomplice challenges the last lie before anyone else does, with a false sum, and has that refuted when the
    /// round's window is over.
    function hide(uint256 lie_) external {
        uint256 round = headers.length;
        if (lied[round] == 0) return;
        uint256 before = challenges.length;
        challenge(round - 1, lied[round] - 1, lie_);
        if (challenges.length == before) return;
        _watch();
        clock += 105;
        vm.warp(clock);
        if (!_refute(ACCOMPLICE, before)) return;
        failed[round] = true;
        _watch();
        done[msg.sig]++;
    }

    /// @dev The watcher challenges every wrong score, but waits where somebody else does, until the first of those has failed.
    function _watch() internal {
        for (uint256 round = 1; round <= headers.length; round++) {
            if (lied[round] == 0 || escrow.isFinal(id, uint32(round))) continue;
            bool wait;
            for (uint256 i; i < challenges.length; i++) {
                if (challenges[i].round != round || !challenges[i].open) continue;
                wait = wait || !failed[round] || challenges[i].challenge.challenger == people[WATCHER];
            }
            if (!wait && _challenge(WATCHER, round, lied[round] - 1, 0)) done[bytes4("wtch")]++;
        }
    }

    int128[] internal lies; // the first partial sums of the challenges

    /// @dev The accomplice asks for a leaf. An honest coordinator shows it as soon as time passes.
    function request(uint256 which, uint256 whichLeaf) external {
        if (headers.length == 0) return;
        uint256 round = which % headers.length + 1;
        address account = people[FIRST + whichLeaf % 4];
        _fund(ACCOMPLICE, MIN_STAKE);
        vm.prank(people[ACCOMPLICE]);
        try escrow.requestLeaf(headers[round - 1], account) {
            asked[round][whichLeaf % 4] = true;
            done[msg.sig]++;
        } catch {}
    }

    function stop() external {
        if (!_isIn(SPONSOR) || id == 0) return;
        vm.prank(people[SPONSOR]);
        try escrow.stop(id) {
            done[msg.sig]++;
        } catch {}
    }

    /// @dev A client of the coalition signs two updates, and the accomplice slashes it.
    function equivocate(uint256 who, uint256 round) external {
        who = FIRST + who % 4;
        if (!_isIn(who) || id == 0) return;
        round = round % 8 + 1;
        IDisputes.SignedUpdate memory one = _signedUpdate(who, uint32(round), "one");
        IDisputes.SignedUpdate memory two = _signedUpdate(who, uint32(round), "two");
        vm.prank(people[ACCOMPLICE]);
        try escrow.proveEquivocation(id, uint32(round), people[who], one, two) {
            done[msg.sig]++;
        } catch {}
    }

    function _signedUpdate(uint256 who, uint32 round, string memory what)
        internal
        view
        returns (IDisputes.SignedUpdate memory)
    {
        bytes32 root = keccak256(bytes(what));
        bytes32 typehash =
            keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
        bytes32 structHash = keccak256(abi.encode(typehash, id, round, people[who], bytes32(0), root));
        return IDisputes.SignedUpdate(0, root, _sign(keys[who], _typed(structHash)));
    }

    /// @dev The accomplice shows who signed a round, right or wrong.
    function slash(uint256 which) public {
        if (headers.length == 0) return;
        ITask.Header memory header = headers[which % headers.length];
        vm.prank(people[ACCOMPLICE]);
        try escrow.slashEvaluators(header, _signatures(header, 3)) {
            done[this.slash.selector]++;
        } catch {}
    }

    /// @dev A coordinator of the coalition hands over to the accomplice and back: nothing is left behind.
    function handOver() external {
        if (!_isIn(COORDINATOR) || id == 0) return;
        for (uint256 i; i < 2; i++) {
            (uint256 from, uint256 to) = i == 0 ? (COORDINATOR, ACCOMPLICE) : (ACCOMPLICE, COORDINATOR);
            vm.prank(people[from]);
            try escrow.offerCoordinator(id, people[to]) {}
            catch {
                return;
            }
            vm.prank(people[to]);
            escrow.takeCoordinator(id);
        }
        done[msg.sig]++;
    }

    /// @dev Anyone claims for everybody, from any round.
    function claim(uint256 which) external {
        if (headers.length == 0) return;
        uint256 round = which % headers.length + 1;
        try escrow.claimRange(payroll(headers[round - 1]), 0, leavesOf[round], "") returns (uint256 paid) {
            if (paid != 0) done[msg.sig]++;
        } catch {}
    }

    /// @dev Time passes; before that an honest coordinator does its duty, and after it anyone calls time.
    function wait_(uint256 time) external {
        _answer();
        _watch();
        _wait(time % 4 == 0 ? time % 1500 : time % 60);
        if (!_isIn(COORDINATOR) && time % 4 == 0) post();
        _callTime();
        done[msg.sig]++;
    }

    function _wait(uint256 time) internal {
        // An honest coordinator never lets a timeout pass: it posts what it may in the meantime.
        if (!_isIn(COORDINATOR)) {
            for (; time > 400; time -= 200) {
                clock += 200;
                vm.warp(clock);
                post();
                _defend();
            }
        }
        clock += time;
        vm.warp(clock);
    }

    /// @dev What an honest coordinator does and, where that is inside, honest evaluators who have something to lose.
    function _answer() internal {
        if (!_isIn(COORDINATOR)) _defend();
        else if (evaluatorStake != 0 && !captured) _defendScores(_honestEvaluator());
    }

    function _honestEvaluator() internal view returns (uint256) {
        return _isIn(EVALUATOR) ? EVALUATOR + 1 : EVALUATOR;
    }

    function _defendScores(uint256 who) internal {
        for (uint256 i; i < challenges.length; i++) {
            if (!challenges[i].open) continue;
            if (large) _defendLarge(who, i);
            else if (!_refute(who, i)) broken = "a false challenge could not be refuted";
        }
    }

    function _defend() internal {
        _defendScores(COORDINATOR);
        for (uint256 round = 1; round <= headers.length; round++) {
            for (uint256 i; i < 4; i++) {
                if (!asked[round][i]) continue;
                vm.prank(people[COORDINATOR]);
                escrow.showLeaf(headers[round - 1], leavesOf[round][i], Tree.prove(leavesOf[round], i));
                asked[round][i] = false;
                done[bytes4("show")]++;
            }
        }
    }

    function _refute(uint256 who, uint256 at) internal returns (bool) {
        vm.prank(people[who]);
        try escrow.refute(challenges[at].challenge, 0, update, direction, lies[at], new bytes32[](0)) {
            challenges[at].open = false;
            done[bytes4("rfut")]++;
            return true;
        } catch {
            return false;
        }
    }

    /// @dev Its first sum has to be broken down, which the accomplice does not. An honest coordinator has what one demand
    /// costs, and no more.
    function _defendLarge(uint256 who, uint256 at) internal {
        Challenged storage c = challenges[at];
        if (c.demandedAt == 0) {
            _fund(who, MIN_STAKE);
            vm.prank(people[who]);
            try escrow.demand(c.challenge, 0) {
                c.demandedAt = clock;
            } catch {
                broken = "one minStake does not buy a demand";
            }
        } else if (clock >= c.demandedAt + 40) {
            try escrow.dismiss(c.challenge, 0) {
                c.open = false;
                done[bytes4("dsms")]++;
            } catch {
                broken = "a false challenge could not be dismissed";
            }
        }
    }

    function _callTime() internal {
        for (uint256 i; i < challenges.length; i++) {
            if (!challenges[i].open) continue;
            try escrow.uphold(challenges[i].challenge, headers[challenges[i].round - 1]) {
                challenges[i].open = false;
                done[bytes4("uphd")]++;
            } catch {}
        }
        for (uint256 round = 1; round <= headers.length; round++) {
            for (uint256 i; i < 4; i++) {
                if (!asked[round][i]) continue;
                try escrow.upholdRequest(headers[round - 1], people[FIRST + i]) {
                    asked[round][i] = false;
                    done[bytes4("uprq")]++;
                } catch {}
            }
        }
    }

    /* THE END */

    /// @dev An honest coordinator goes on to the last round; one of the coalition falls silent where it is. Then anyone calls
    /// what anyone can, and everybody counts its money.
    function drain() external {
        if (id == 0) return;
        _watch();
        for (uint256 i; i < 32 && !_isIn(COORDINATOR); i++) {
            _defend();
            clock += 200;
            vm.warp(clock);
            post();
        }
        for (uint256 i; i < 3; i++) {
            _answer();
            clock += 1200;
            vm.warp(clock);
            _answer();
            _callTime();
        }
        for (uint256 i; i < demands.length; i++) {
            escrow.dismiss(challenges[demands[i].challenge].challenge, demands[i].sum);
        }
        (, ITask.State memory state) = escrow.task(id);
        uint256 valid = state.posted;
        ITask.Header memory last;
        last.taskId = id;
        if (valid != 0) last = headers[valid - 1];
        bytes memory call = state.status == ITask.Status.Halted
            ? abi.encodeCall(escrow.closeHalted, (last))
            : valid == state.rounds ? abi.encodeCall(escrow.close, (id)) : abi.encodeCall(escrow.expire, (id));
        (bool ended,) = address(escrow).call(call);
        if (!ended) broken = "the task could not be ended";
        done[bytes4(call)]++;
        if (valid != 0) escrow.claimRange(payroll(last), 0, leavesOf[valid], "");
        address[] memory clients = new address[](4);
        for (uint256 i; i < 4; i++) {
            clients[i] = people[FIRST + i];
        }
        escrow.releaseRange(id, clients);
        for (uint256 i; i < headers.length; i++) {
            slash(i);
        }
        clock += 3600;
        vm.warp(clock);
        escrow.sweep(id);
        for (uint256 i = EVALUATOR; i < PEOPLE; i++) {
            try escrow.releaseEvaluator(id, people[i]) {
                done[bytes4("home")]++;
            } catch {}
        }
        for (uint256 i; i < PEOPLE; i++) {
            if (escrow.creditOf(address(token), people[i]) != 0) escrow.withdrawFor(address(token), people[i]);
        }
        _count(valid);
    }

    function _count(uint256 valid) internal {
        (uint256 mine, uint256 fair) = (0, 0);
        for (uint256 i; i < PEOPLE; i++) {
            uint256 has = token.balanceOf(people[i]);
            if (_isIn(i)) {
                mine += has;
                fair += put[i];
                if (i >= FIRST && i < ACCOMPLICE) fair += budget * (i - FIRST + 1) / 10;
            } else if (i >= EVALUATOR) {
                // Where they sign whatever they are shown, they may lose; nobody gains by it.
                if (!captured && has < put[i]) broken = "an honest evaluator lost its stake";
            } else if (i == WATCHER) {
                if (has < put[i]) broken = "a watcher who was right lost by it";
            } else if (i >= FIRST) {
                uint256 earned = valid == 0 ? 0 : leavesOf[valid][i - FIRST].cumulative;
                if (has < put[i] + earned) broken = "an honest client has less than its stake and its final pay";
            } else if (i == COORDINATOR && has < put[i]) {
                broken = "an honest coordinator lost by it";
            }
        }
        if (_isIn(SPONSOR)) fair -= budget;
        if (mine > fair + DUST) broken = "a coalition has more than honest play would have left it";
    }

    function burned() external view returns (uint256 sum) {
        for (uint32 round = 1; round < 10; round++) {
            sum += escrow.burnedIn(id, round);
        }
    }

    /* BLOCKS */

    function _blocks() internal view returns (uint64) {
        return large ? MANY : 1;
    }

    function _top(bytes memory data) internal view returns (bytes32 top) {
        top = Blocks.leaf(data);
        for (uint64 width = 1; width < _blocks(); width *= 2) {
            top = sha256(bytes.concat(hex"01", top, top));
        }
    }

    function _root(bytes memory data) internal view returns (bytes32) {
        return Blocks.root(_blocks(), _top(data));
    }

    /// @dev One sum, or 4,096 of two blocks each; the first has the lie.
    function _sums(int128 lie_) internal view returns (bytes memory sums, bytes32 root) {
        if (!large) return (abi.encodePacked(each + lie_), Blocks.sumLeaf(each + lie_));
        int128 both = 2 * each;
        sums = abi.encodePacked(both);
        for (uint256 count = 1; count < MANY / 2; count *= 2) {
            sums = bytes.concat(sums, sums);
        }
        bytes memory first = abi.encodePacked(both + lie_);
        for (uint256 i; i < 16; i++) {
            sums[i] = first[i];
        }
        (bytes32 left, bytes32 right,) = _halves(lie_);
        root = keccak256(bytes.concat(hex"01", left, right));
    }

    /// @dev The halves of the tree over the sums, of which the left one has the lie, and the siblings of any in the right one.
    function _halves(int128 lie_) internal view returns (bytes32 left, bytes32 right, bytes32[] memory path) {
        path = new bytes32[](12);
        right = Blocks.sumLeaf(2 * each);
        left = Blocks.sumLeaf(2 * each + lie_);
        for (uint256 i; i < 11; i++) {
            path[i] = right;
            left = keccak256(bytes.concat(hex"01", left, right));
            right = keccak256(bytes.concat(hex"01", right, right));
        }
        path[11] = left;
    }

    /* INTERNAL */

    function _fund(uint256 who, uint256 amount) internal {
        put[who] += amount;
        token.mint(people[who], amount);
        vm.prank(people[who]);
        token.approve(address(escrow), type(uint256).max);
    }

    function _typed(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(bytes.concat(hex"1901", domain, structHash));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (ITask.Signature memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return ITask.Signature(r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }
}
