// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../src/DevToken.sol";
import {IDisputes} from "../src/interfaces/IDisputes.sol";
import {ITask} from "../src/interfaces/ITask.sol";
import {Blocks} from "./world/Blocks.sol";
import {payroll} from "./world/Payroll.sol";
import {Tree} from "./world/Tree.sol";
import {Vm, vm} from "./world/Vm.sol";
import {Wallet} from "./world/Wallets.sol";
import {World} from "./world/World.sol";

abstract contract Floors is World {
    /// @dev The least that a transaction with this calldata costs: by EIP-7623, 10 gas a token, of which a zero byte is one and
    /// another four; and by EIP-7976, 64 gas a byte.
    function _floors(string memory name, bytes memory data) internal {
        uint256 tokens;
        for (uint256 i; i < data.length; i++) {
            tokens += data[i] == 0 ? 1 : 4;
        }
        vm.snapshotValue("calldata", string.concat(name, "_7623"), 21_000 + 10 * tokens);
        vm.snapshotValue("calldata", string.concat(name, "_7976"), 21_000 + 64 * data.length);
    }
}

/// @notice What a transaction costs: 21,000, its calldata, and the call with every slot cold. Each measurement is one
/// isolated call (forge test --isolate), written to snapshots/ by Foundry.
abstract contract GasOfRounds is Floors {
    function _group() internal view returns (string memory) {
        return clients.length > 1000 ? "gas_large" : "gas";
    }

    function _terms() internal view override returns (ITask.Terms memory terms) {
        terms = super._terms();
        terms.rounds = 10;
    }

    function _many(uint256 count, uint8 quorum) internal {
        delete clients;
        for (uint256 i; i < count; i++) {
            // Ascending, and with as few zero bytes as a real address.
            clients.push(address(uint160((i + 1) << 144 | uint144(uint256(keccak256(abi.encode(i)))))));
        }
        ITask.Terms memory terms = _terms();
        terms.quorum = quorum;
        _begin(terms);
    }

    function _scores() internal view returns (int128[] memory scores) {
        scores = new int128[](clients.length);
        for (uint256 i; i < scores.length; i++) {
            scores[i] = int128(int256(uint256(keccak256(abi.encode(i, headers.length))) % 2 ** 34));
        }
    }

    function _round(uint256 signers) internal returns (uint256 gas) {
        ITask.Header memory header = _next(_scores());
        ITask.Signature[] memory signatures = _signed(header, signers);
        bytes32 next = _nextCover(header.cumulative);
        vm.prank(COORDINATOR);
        fairshare.post(header, signatures, cover);
        headers.push(header);
        gas = vm.snapshotGasLastCall(_group(), string.concat("post_", vm.toString(signers), "_of_", vm.toString(clients.length)));
        _floors(
            string.concat("post_", vm.toString(signers)), abi.encodeCall(fairshare.post, (header, signatures, cover))
        );
        (cover, due) = (next, enrolment);
        _wait(1 hours);
    }

    /// @dev First: the account holds no token yet. Later: it was paid before. Batched: 100 of them at once.
    function _claims(uint256 size, string memory suffix) internal {
        _many(size, 1);
        _round(1);
        ITask.Header memory header = headers[0];
        uint256 who = size / 3;
        // One payment before, so that the task's own counters are not zero any more.
        fairshare.claim(payroll(header), leaves[0], _proof(0));
        fairshare.claim(payroll(header), leaves[who], Tree.proveIn(Tree.levels(leaves), who));
        vm.snapshotGasLastCall(_group(), string.concat("claim_first_", suffix));
        uint256 count = size < 100 ? size : 100;
        _claimBatch(header, 0, count);
        _round(1);
        header = headers[1];
        fairshare.claim(payroll(header), leaves[who], Tree.proveIn(Tree.levels(leaves), who));
        vm.snapshotGasLastCall(_group(), string.concat("claim_later_", suffix));
        _floors(
            string.concat("claim_", suffix),
            abi.encodeCall(fairshare.claim, (payroll(header), leaves[who], Tree.proveIn(Tree.levels(leaves), who)))
        );
        vm.snapshotValue(_group(), string.concat("claim_batched_later_", suffix), _claimBatch(header, 0, count) / count);
        _round(1);
        vm.snapshotValue(_group(), string.concat("claim_ranged_later_", suffix), _claimRange(headers[2], 0, count) / count);
    }

    function _claimRange(ITask.Header memory header, uint256 from, uint256 count) internal returns (uint256) {
        ITask.Leaf[] memory some = new ITask.Leaf[](count);
        for (uint256 i; i < count; i++) {
            some[i] = leaves[from + i];
        }
        fairshare.claimRange(payroll(header), uint32(from), some, Tree.proveRange(Tree.levels(leaves), from, count));
        return vm.lastCallGas().gasTotalUsed;
    }

    function _claimBatch(ITask.Header memory header, uint256 from, uint256 count) internal returns (uint256) {
        ITask.Leaf[] memory some = new ITask.Leaf[](count);
        ITask.Proof[] memory proofs = new ITask.Proof[](count);
        Tree.Node[][] memory levels = Tree.levels(leaves);
        for (uint256 i; i < count; i++) {
            some[i] = leaves[from + i];
            proofs[i] = Tree.proveIn(levels, from + i);
        }
        fairshare.claimBatch(payroll(header), some, proofs);
        return vm.lastCallGas().gasTotalUsed;
    }
}

/// forge-config: default.isolate = true
contract GasTest is GasOfRounds {
    function test_post_1() public {
        _many(10, 1);
        _round(1);
        _round(1);
    }

    function test_post_3() public {
        _many(10, 3);
        _round(3);
        _round(3);
    }

    function test_claim_10() public {
        _claims(10, "10");
    }

    function test_claim_100() public {
        _claims(100, "100");
    }

    function test_claim_1000() public {
        _claims(1000, "1000");
    }
}

/// @notice Minutes long: `npm run gas:large` only.
/// forge-config: default.isolate = true
contract LargeGasTest is GasOfRounds {
    function test_slow_claim_10000() public {
        _claims(10_000, "10000");
    }
}

/// @notice A plain contract that pays everybody in a loop, as most reward contracts do.
contract NaivePush {
    function push(DevToken token, address[] calldata accounts, uint256[] calldata amounts) external {
        for (uint256 i; i < accounts.length; i++) {
            require(token.transfer(accounts[i], amounts[i]));
        }
    }
}

/// forge-config: default.isolate = true
contract GasOfTheRestTest is Floors {
    bytes internal update = Blocks.random(1, -30);
    bytes internal direction = Blocks.random(2, -31);

    function test_join() public {
        _open(_terms());
        _join(0, 1 ether);
        _fund(_client(1), 1 ether);
        bytes memory nodeKey = new bytes(65);
        for (uint256 i; i < 65; i++) {
            nodeKey[i] = 0xAB;
        }
        bytes32 dataset = keccak256("data");
        vm.prank(_client(1));
        fairshare.join(taskId, 1 ether, nodeKey, dataset, new bytes32[](0));
        vm.snapshotGasLastCall("gas", "join");
        _floors("join", abi.encodeCall(fairshare.join, (taskId, 1 ether, nodeKey, dataset, new bytes32[](0))));
    }

    /// @dev The same with the allowance in the same transaction, where approving takes another one.
    function test_join_by_permit() public {
        _open(_terms());
        _join(0, 1 ether);
        address account = _client(1);
        _fund(account, 1 ether);
        vm.prank(account);
        token.approve(address(fairshare), 0); // `_fund` approved
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(fairshare.permit, (address(token), _permit(account, 1 ether)));
        bytes memory nodeKey = abi.encodePacked(keccak256("x"), keccak256("y"), bytes1(0x04));
        calls[1] = abi.encodeCall(fairshare.join, (taskId, 1 ether, nodeKey, keccak256("data"), new bytes32[](0)));
        vm.prank(account);
        fairshare.multicall(calls);
        vm.snapshotGasLastCall("gas", "join_by_permit");
        vm.prank(account);
        token.approve(address(fairshare), 1 ether);
        vm.snapshotGasLastCall("gas", "approve");
    }

    function _permit(address account, uint256 value) internal view returns (ITask.Permit memory permit) {
        permit.value = value;
        permit.deadline = clock + 1 days;
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 order = keccak256(
            abi.encode(typehash, account, address(fairshare), value, token.nonces(account), permit.deadline)
        );
        bytes32 digest = keccak256(bytes.concat(hex"1901", token.DOMAIN_SEPARATOR(), order));
        (permit.v, permit.r, permit.s) = vm.sign(keyOf[account], digest);
    }

    function test_release_range_100() public {
        delete clients;
        for (uint256 i; i < 100; i++) {
            clients.push(address(uint160((i + 1) << 144 | uint144(uint256(keccak256(abi.encode(i)))))));
            token.mint(clients[i], 1); // it was paid before
        }
        _begin();
        _wait(1 days);
        fairshare.expire(taskId); // nobody earned anything: the pool goes with the stakes
        fairshare.releaseRange(taskId, clients);
        vm.snapshotValue("gas", "release_range_100", vm.lastCallGas().gasTotalUsed / 100);
    }

    function test_request_and_show_a_leaf() public {
        _begin();
        ITask.Header memory header = _post();
        address account = _client(1);
        _fund(account, 1 ether);
        vm.prank(account);
        court.requestLeaf(header, account);
        vm.snapshotGasLastCall("gas", "request_leaf");
        ITask.Proof memory proof = _proof(1);
        vm.prank(COORDINATOR);
        court.showLeaf(header, leaves[1], proof);
        vm.snapshotGasLastCall("gas", "show_leaf_3");
    }

    /// @dev An evaluator's stake there and back, and what a contract's signature costs before its post.
    function test_an_evaluators_stake() public {
        ITask.Terms memory terms = _terms();
        address evaluator = address(new Wallet(vm.addr(1)));
        (terms.evaluators, terms.quorum, terms.evaluatorStake) = (new address[](1), 1, 1 ether);
        terms.evaluators[0] = evaluator;
        _open(terms);
        _join(0, 1 ether);
        _fund(evaluator, 1 ether);
        vm.prank(evaluator);
        fairshare.stakeEvaluator(taskId, evaluator, "");
        vm.snapshotGasLastCall("gas", "stake_evaluator");
        _start();
        ITask.Header memory header = _next(new int128[](1));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(1, _digest(header));
        fairshare.approveHeader(header, evaluator, abi.encodePacked(r, s, v));
        vm.snapshotGasLastCall("gas", "approve_header");
        _wait(1 days);
        fairshare.expire(taskId);
        fairshare.releaseEvaluator(taskId, evaluator);
        vm.snapshotGasLastCall("gas", "release_evaluator");
    }

    function test_naive_push_1000() public {
        NaivePush naive = new NaivePush();
        address[] memory accounts = new address[](1000);
        uint256[] memory amounts = new uint256[](1000);
        token.mint(address(naive), 1e30);
        for (uint256 i; i < 1000; i++) {
            accounts[i] = address(uint160(uint256(keccak256(abi.encode(i)))));
            amounts[i] = 1e18 + uint128(uint256(keccak256(abi.encode(i, i)))) % 1e18;
            token.mint(accounts[i], 1); // paid before, as the later claims that it is compared with
        }
        naive.push(token, accounts, amounts);
        vm.snapshotGasLastCall("gas", "naive_push_1000");
    }

    function test_prove_transition() public {
        // A thousand clients, the second round steals.
        delete clients;
        for (uint256 i; i < 1000; i++) {
            clients.push(address(uint160((i + 1) << 144 | uint144(uint256(keccak256(abi.encode(i)))))));
        }
        _begin();
        ITask.Header memory first = _post();
        int128[] memory scores = new int128[](1000);
        for (uint256 i; i < 1000; i++) {
            scores[i] = int128(int256(uint256(keccak256(abi.encode(i))) % 2 ** 34));
        }
        ITask.Header memory second = _next(scores);
        (leaves[1].cumulative, leaves[2].cumulative) = (leaves[1].cumulative + 9, leaves[2].cumulative - 9);
        _reseal(second);
        _send(second);
        ITask.Proof memory before = Tree.proveIn(Tree.levels(earlier), 1);
        ITask.Proof memory proof = Tree.proveIn(Tree.levels(leaves), 1);
        vm.prank(ANYONE);
        court.proveTransition(first, earlier[1], before, second, leaves[1], proof);
        vm.snapshotGasLastCall("gas", "prove_transition");
    }

    /// @dev A round in which client 0's update has `blocks` equal blocks, all with the score that they make.
    function _round(uint64 blocks, bytes32 updateTop, bytes32 directionTop) internal returns (ITask.Header memory header) {
        _begin();
        int128[] memory scores = new int128[](3);
        uint64 weight = 2 ** 30;
        scores[0] = int128(Blocks.partialSum(update, direction) * int256(uint256(blocks)) * int256(uint256(weight)) >> 32);
        header = _next(scores);
        (leaves[0].updateRoot, leaves[0].weight) = (Blocks.root(blocks, updateTop), weight);
        header.directionRoot = Blocks.root(blocks, directionTop);
        _reseal(header);
        _send(header);
    }

    function _challenge(ITask.Header memory header, uint64 blocks, bytes32 top, bytes memory sums)
        internal
        returns (IDisputes.Challenge memory challenge)
    {
        _fund(ANYONE, CHALLENGE);
        ITask.Proof memory proof = _proof(0);
        vm.recordLogs();
        vm.prank(ANYONE);
        court.challengeScore(header, leaves[0], proof, blocks, top, sums);
        vm.snapshotGasLastCall("gas", string.concat("challenge_", vm.toString(blocks)));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; i++) {
            if (logs[i].topics[0] == IDisputes.Challenged.selector) {
                (challenge,) = abi.decode(logs[i].data, (IDisputes.Challenge, bytes));
            }
        }
    }

    function _repeat(int128 sum, uint256 count) internal pure returns (bytes memory sums) {
        sums = new bytes(16 * count);
        for (uint256 i; i < count; i++) {
            assembly {
                mstore(add(add(sums, 32), mul(i, 16)), shl(128, sum))
            }
        }
    }

    function _hashes(bytes32 hash, uint256 count) internal pure returns (bytes32[] memory all) {
        all = new bytes32[](count);
        for (uint256 i; i < count; i++) {
            all[i] = hash;
        }
    }

    /// @dev LeNet has 61,706 parameters, which are 242 blocks.
    function test_refute() public {
        uint64 blocks = 242;
        bytes32[] memory updates = _hashes(Blocks.leaf(update), blocks);
        bytes32[] memory directions = _hashes(Blocks.leaf(direction), blocks);
        ITask.Header memory header = _round(blocks, Blocks.top(updates, true), Blocks.top(directions, true));
        int128 right = int128(Blocks.partialSum(update, direction));
        bytes memory sums = _repeat(right, blocks);
        bytes32[] memory sumHashes = _hashes(Blocks.sumLeaf(right), blocks);
        // Block 77 is the lie.
        int128 lie = right + 2 ** 30;
        bytes16 packed = bytes16(uint128(lie));
        for (uint256 i; i < 16; i++) {
            sums[77 * 16 + i] = packed[i];
        }
        sumHashes[77] = Blocks.sumLeaf(lie);
        IDisputes.Challenge memory challenge = _challenge(header, blocks, Blocks.top(updates, true), sums);
        bytes memory one = bytes.concat(update, abi.encodePacked(Blocks.path(updates, 77, true)));
        bytes memory two = bytes.concat(direction, abi.encodePacked(Blocks.path(directions, 77, true)));
        bytes32[] memory path = Blocks.path(sumHashes, 77, false);
        vm.prank(COORDINATOR);
        court.refute(challenge, 77, one, two, lie, path);
        vm.snapshotGasLastCall("gas", "refute_242");
        _floors("refute_242", abi.encodeCall(court.refute, (challenge, 77, one, two, lie, path)));
    }

    /// @dev The siblings of block 0 among 2^depth equal ones, and the top.
    function _deep(bytes32 leaf, uint256 depth) internal pure returns (bytes32[] memory path, bytes32 top) {
        path = new bytes32[](depth);
        for (uint256 i; i < depth; i++) {
            path[i] = leaf;
            leaf = sha256(bytes.concat(hex"01", leaf, leaf));
        }
        top = leaf;
    }

    function test_refute_of2To20Blocks() public {
        (, bytes32 updateTop) = _deep(Blocks.leaf(update), 20);
        (, bytes32 directionTop) = _deep(Blocks.leaf(direction), 20);
        ITask.Header memory header = _round(2 ** 20, updateTop, directionTop);
        int128 right = int128(Blocks.partialSum(update, direction));
        // 256 blocks a sum; the first sum and its first block are 2^30 too high.
        bytes memory sums = _repeat(right * 256, 4096);
        bytes memory partials = _repeat(right, 256);
        bytes32[] memory sumHashes = _hashes(Blocks.sumLeaf(right * 256), 4096);
        bytes32[] memory partialHashes = _hashes(Blocks.sumLeaf(right), 256);
        (bytes16 sum, bytes16 part) = (bytes16(uint128(right * 256 + 2 ** 30)), bytes16(uint128(right + 2 ** 30)));
        for (uint256 i; i < 16; i++) {
            (sums[i], partials[i]) = (sum[i], part[i]);
        }
        sumHashes[0] = Blocks.sumLeaf(right * 256 + 2 ** 30);
        partialHashes[0] = Blocks.sumLeaf(right + 2 ** 30);
        IDisputes.Challenge memory challenge = _challenge(header, 2 ** 20, updateTop, sums);
        _fund(COORDINATOR, 1 ether);
        vm.prank(COORDINATOR);
        court.demand(challenge, 0);
        vm.snapshotGasLastCall("gas", "demand");
        bytes32[] memory path = Blocks.path(sumHashes, 0, false);
        vm.prank(ANYONE);
        court.answer(challenge, 0, right * 256 + 2 ** 30, path, partials);
        vm.snapshotGasLastCall("gas", "answer_256");
        _refuteDeep(challenge, right + 2 ** 30, Blocks.path(partialHashes, 0, false));
    }

    function _refuteDeep(IDisputes.Challenge memory challenge, int128 lie, bytes32[] memory path) internal {
        (bytes32[] memory updatePath,) = _deep(Blocks.leaf(update), 20);
        (bytes32[] memory directionPath,) = _deep(Blocks.leaf(direction), 20);
        bytes memory one = bytes.concat(update, abi.encodePacked(updatePath));
        bytes memory two = bytes.concat(direction, abi.encodePacked(directionPath));
        vm.prank(COORDINATOR);
        court.refute(challenge, 0, one, two, lie, path);
        vm.snapshotGasLastCall("gas", "refute_1048576");
    }
}
