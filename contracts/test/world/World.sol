// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {coverAfter, enrolmentAfter} from "./Covers.sol";
import {Escrow, deployEscrow} from "./Escrow.sol";
import {Payout} from "./Payout.sol";
import {hashOf} from "./Payroll.sol";
import {Tree} from "./Tree.sol";
import {Vm, vm} from "./Vm.sol";

/// @notice A chain with one token, one contract and the people of one task, and the steps they take.
abstract contract World {
    Escrow internal fairshare;
    IDisputes internal court; // the same contract
    DevToken internal token;

    address internal constant SPONSOR = address(0x5907);
    address internal constant ANYONE = address(0xA27);
    uint256 internal constant CHALLENGE = 62.5 ether; // what a challenge costs: a sixteenth of the bond
    uint256 internal constant COORDINATOR_KEY = 0xC00;
    address internal COORDINATOR = vm.addr(COORDINATOR_KEY);

    bytes32 internal taskId;
    bytes32 internal domain;
    uint256 internal clock = 1_700_000_000; // our own: optimised code may read block.timestamp once for two warps
    address[] internal clients; // ascending
    mapping(address client => uint256 key) internal keyOf;
    uint256[] internal evaluatorKeys; // by ascending address
    ITask.Leaf[] internal leaves; // of the last posted round
    ITask.Leaf[] internal earlier; // of the round before
    ITask.Header[] internal headers; // posted, from round 1
    bytes32 internal enrolment; // of all joins and leaves of the task
    bytes32 internal due; // as of the last post or the start
    bytes32 internal cover; // what the next post has to bring

    function setUp() public virtual {
        vm.warp(clock);
        token = new DevToken();
        fairshare = deployEscrow();
        court = IDisputes(address(fairshare));
        evaluatorKeys = _keys(0xE000, 3);
        uint256[] memory keys = _keys(0xA000, 3);
        for (uint256 i; i < keys.length; i++) {
            clients.push(vm.addr(keys[i]));
            keyOf[clients[i]] = keys[i];
        }
        domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Fairshare"),
                keccak256("1"),
                block.chainid,
                address(fairshare)
            )
        );
    }

    /* STEPS */

    function _terms() internal view virtual returns (ITask.Terms memory terms) {
        address[] memory evaluators = new address[](evaluatorKeys.length);
        for (uint256 i; i < evaluators.length; i++) {
            evaluators[i] = vm.addr(evaluatorKeys[i]);
        }
        return ITask.Terms({
            token: address(token),
            coordinator: COORDINATOR,
            evaluators: evaluators,
            quorum: 2,
            revealEachRound: false,
            attested: false,
            mayStop: true,
            mayCloseJoining: true,
            rounds: 3,
            challengeWindow: 1 hours,
            responseWindow: 30 minutes,
            roundTimeout: 1 days,
            claimPeriod: 30 days,
            budget: 1000 ether,
            bond: 1000 ether, // all rounds can be posted in one window
            minStake: 1 ether,
            maxStake: 10 ether,
            evaluatorStake: 0,
            members: 0,
            specHash: keccak256("spec"),
            validationHash: keccak256("validation"),
            baseModel: keccak256("model 0"),
            salt: bytes32(0)
        });
    }

    function _open(ITask.Terms memory terms) internal returns (bytes32) {
        _fund(SPONSOR, terms.budget);
        vm.prank(SPONSOR);
        taskId = fairshare.open(terms);
        (enrolment, due, cover) = (0, 0, 0);
        return taskId;
    }

    function _join(uint256 client, uint128 stake) internal returns (uint32 firstRound) {
        _fund(_client(client), stake);
        vm.prank(_client(client));
        firstRound = fairshare.join(
            taskId, stake, abi.encode("node key", client), keccak256(abi.encode("data", client)), new bytes32[](0)
        );
        _noteJoin(_client(client), firstRound, stake);
    }

    function _leave(uint256 client) internal returns (uint32 leftRound) {
        uint128 stake = fairshare.clientOf(taskId, _client(client)).stake;
        vm.prank(_client(client));
        leftRound = fairshare.leave(taskId);
        enrolment = enrolmentAfter(enrolment, 2, _client(client), leftRound, stake);
    }

    function _noteJoin(address account, uint32 firstRound, uint128 stake) internal {
        enrolment = enrolmentAfter(enrolment, 1, account, firstRound, stake);
    }

    function _start() internal {
        (ITask.Terms memory terms,) = fairshare.task(taskId);
        _fund(COORDINATOR, terms.bond);
        vm.prank(COORDINATOR);
        fairshare.start(taskId);
        due = enrolment;
    }

    /// @dev A started task with all clients in it.
    function _begin() internal {
        _begin(_terms());
    }

    function _begin(ITask.Terms memory terms) internal {
        _open(terms);
        for (uint256 i; i < clients.length; i++) {
            _join(i, terms.minStake);
        }
        _start();
    }

    /// @dev The header of the next round for these scores, and `leaves` moved on to it; nothing is posted.
    function _next(int128[] memory scores) internal returns (ITask.Header memory header) {
        (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(taskId);
        ITask.Leaf[] memory moved = new ITask.Leaf[](scores.length);
        for (uint256 i; i < moved.length; i++) {
            if (i < leaves.length) moved[i] = leaves[i];
            moved[i].account = _client(i);
            moved[i].updateRoot = keccak256(abi.encode("update", state.posted + 1, i));
            moved[i].weight = uint64(2 ** 32 / scores.length);
        }
        uint32 round = state.posted + 1;
        uint256 allowed = round == state.rounds ? state.budget : uint256(state.budget) * round / state.rounds;
        uint128 price = Payout.settle(moved, scores, allowed);
        earlier = leaves;
        delete leaves;
        for (uint256 i; i < moved.length; i++) {
            leaves.push(moved[i]);
        }
        Tree.Node memory top = Tree.root(moved);
        header = ITask.Header({
            taskId: taskId,
            round: state.posted + 1,
            treeRoot: top.node,
            leafCount: uint32(moved.length),
            cumulative: top.cumulative,
            previous: headers.length == 0 ? bytes32(0) : _hash(headers[headers.length - 1]),
            baseModel: headers.length == 0 ? terms.baseModel : headers[headers.length - 1].nextModel,
            nextModel: keccak256(abi.encode("model", state.posted + 1)),
            validation: terms.validationHash,
            directionRoot: keccak256(abi.encode("direction", state.posted + 1)),
            enrolment: due,
            price: price,
            bundle: keccak256(abi.encode("bundle", state.posted + 1))
        });
    }

    /// @dev Puts changed `leaves` under a header, sums and all.
    function _reseal(ITask.Header memory header) internal view {
        Tree.Node memory top = Tree.root(leaves);
        (header.treeRoot, header.cumulative) = (top.node, top.cumulative);
    }

    function _send(ITask.Header memory header) internal {
        bytes32 next = _nextCover(header.cumulative);
        ITask.Signature[] memory signatures = _signed(header, 2);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        headers.push(header);
        (cover, due) = (next, enrolment);
    }

    /// @dev The cover of a post at this time.
    function _nextCover(uint256 total) internal view returns (bytes32) {
        (ITask.Terms memory terms, ITask.State memory state) = fairshare.task(taskId);
        return coverAfter(cover, terms, state, clock, total);
    }

    /// @dev Posts a round in which every client scores 1, 2, 3 …
    function _post() internal returns (ITask.Header memory header) {
        int128[] memory scores = new int128[](clients.length);
        for (uint256 i; i < scores.length; i++) {
            scores[i] = int128(int256(i + 1)) * 2 ** 30;
        }
        header = _next(scores);
        _send(header);
    }

    function _postFinal() internal returns (ITask.Header memory header) {
        header = _post();
        _wait(1 hours);
    }

    function _wait(uint256 time) internal {
        clock += time;
        vm.warp(clock);
    }

    function _fund(address account, uint256 amount) internal {
        token.mint(account, amount);
        vm.prank(account);
        // Low-level, since some tokens of the zoo return nothing.
        (bool done,) = address(token).call(abi.encodeCall(token.approve, (address(fairshare), type(uint256).max)));
        vm.assertTrue(done);
    }

    /* LOOKS */

    function _client(uint256 index) internal view returns (address) {
        return clients[index];
    }

    function _proof(uint256 index) internal view returns (ITask.Proof memory) {
        return Tree.prove(leaves, index);
    }

    function _state() internal view returns (ITask.State memory state) {
        (, state) = fairshare.task(taskId);
    }

    /// @dev What the task has burned, on its way to where nobody can spend it.
    function _burned() internal returns (uint256) {
        for (uint32 round = 1; round < 10; round++) {
            if (court.burnedIn(taskId, round) != 0) court.burn(taskId, round);
        }
        return _credit(address(0xdEaD));
    }

    function _credit(address account) internal view returns (uint256) {
        return fairshare.creditOf(address(token), account);
    }

    /* SIGNATURES */

    function _hash(ITask.Header memory header) internal pure returns (bytes32) {
        return hashOf(header);
    }

    function _digest(ITask.Header memory header) internal view returns (bytes32) {
        return _typed(_hash(header));
    }

    function _typed(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(bytes.concat(hex"1901", domain, structHash));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (ITask.Signature memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return ITask.Signature(r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    /// @dev The first `count` evaluators' signatures.
    function _signed(ITask.Header memory header, uint256 count)
        internal
        view
        returns (ITask.Signature[] memory signatures)
    {
        signatures = new ITask.Signature[](count);
        for (uint256 i; i < count; i++) {
            signatures[i] = _sign(evaluatorKeys[i], _digest(header));
        }
    }

    /// @dev `count` private keys from `first` on, sorted by address.
    function _keys(uint256 first, uint256 count) internal pure returns (uint256[] memory keys) {
        keys = new uint256[](count);
        for (uint256 i; i < count; i++) {
            uint256 key = first + i;
            uint256 at = i;
            for (; at > 0 && vm.addr(keys[at - 1]) > vm.addr(key); at--) {
                keys[at] = keys[at - 1];
            }
            keys[at] = key;
        }
    }
}
