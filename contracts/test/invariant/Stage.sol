// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {DevToken} from "../../src/DevToken.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Blocks} from "../world/Blocks.sol";
import {Escrow} from "../world/Escrow.sol";
import {Tree} from "../world/Tree.sol";
import {vm} from "../world/Vm.sol";

/// @notice Who is there, what was posted, and what the invariants look at.
abstract contract Stage {
    /// @notice What is wrong in a round that the coordinator posted with two of three evaluators.
    enum Lie {
        None,
        Score, // the first leaf's
        Theft, // from the last leaf to the first
        Chain, // another base model
        Omission, // the coordinator signed a receipt for another update of the first leaf
        Disorder, // the first two leaves are swapped
        Missing, // an impostor's leaf in the first one's place
        BadLeaf, // the first leaf's sums are not what its parent has for it
        BadNode // the sums of the first two leaves are not what is said of the node above them
    }

    struct Posted {
        ITask.Header header;
        Lie lie;
        uint64 blocks; // of every update in it, and of the direction
    }

    uint64 internal constant MANY = 8192; // blocks: two in each of 4,096 sums
    uint256 internal constant LEVELS = 13; // of their tree
    uint128 internal constant MIN_STAKE = 1e18;

    address internal constant SPONSOR = address(0x5907);
    address internal constant WATCHER = address(0x3A7C); // proves and challenges what is wrong
    address internal constant REFUTER = address(0x4EF); // refutes what is right
    address internal constant LIAR = address(0x11A4); // proves and challenges what is right
    address internal constant RELAYER = address(0x4E1A);
    address internal constant ELSEWHERE = address(0xE15E);
    address internal constant BURNED = address(0xdEaD);
    uint256 internal constant COORDINATOR_KEY = 0xC00;
    address internal COORDINATOR = vm.addr(COORDINATOR_KEY);

    Escrow public immutable fairshare;
    IDisputes internal immutable court;
    DevToken public immutable token;
    bytes32 internal immutable domain;

    uint256[] internal evaluatorKeys; // by ascending address; the first is honest, the last is not, the other signs all
    address[] public clients; // ascending; the last two sign a second update
    mapping(address client => uint256) internal keyOf;
    uint256 internal constant HONEST_CLIENTS = 3;

    bytes32[] public taskIds;
    mapping(bytes32 id => bool) internal honest; // its coordinator is
    mapping(bytes32 id => Posted[]) internal posted;
    mapping(bytes32 id => mapping(uint256 round => ITask.Leaf[])) internal leavesOf;
    mapping(bytes32 id => bytes32) internal coverOf; // what the next post has to bring
    mapping(bytes32 id => uint256) public shares; // of pools, that came with stakes
    mapping(bytes32 id => bool) public lied;
    mapping(bytes32 id => mapping(address => uint256)) public received; // by claims, wherever they went
    mapping(bytes32 id => mapping(address => uint256)) public staked; // that has to be there
    mapping(bytes32 id => uint256[3]) public backing; // the evaluators' stakes that have to be there
    mapping(address => uint256) internal put; // minted to an account to stake or escrow
    mapping(address => uint256) internal kept; // of claims, what came to the account itself
    uint256 public held; // bonds of challenges and demands
    uint256 public clock = 1_700_000_000;
    mapping(bytes4 => uint256) public done; // calls that did something
    string public broken; // a promise that a call found broken

    bytes internal direction = Blocks.random(1, -31);
    bytes internal up = Blocks.random(2, -30); // scores above or below 0, whichever; `down` is its mirror
    bytes internal down;
    int128 internal upSum; // of one block
    int128 internal downSum;
    bytes32[] internal upPath; // from any block of many equal ones
    bytes32[] internal downPath;
    bytes32[] internal directionPath;
    mapping(uint64 blocks => bytes32) internal upTop;
    mapping(uint64 blocks => bytes32) internal downTop;
    mapping(uint64 blocks => bytes32) internal directionTop;

    constructor(Escrow fairshare_, DevToken token_) {
        fairshare = fairshare_;
        court = IDisputes(address(fairshare_));
        token = token_;
        domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Fairshare"),
                keccak256("1"),
                block.chainid,
                address(fairshare_)
            )
        );
        evaluatorKeys = _keys(0xE000, 3);
        uint256[] memory keys = _keys(0xA000, 5);
        for (uint256 i; i < keys.length; i++) {
            clients.push(vm.addr(keys[i]));
            keyOf[clients[i]] = keys[i];
        }
        down = up;
        for (uint256 k; k < 256; k++) {
            int16 value = int16(uint16(uint8(up[1 + 2 * k])) << 8 | uint16(uint8(up[2 + 2 * k])));
            bytes2 mirrored = bytes2(uint16(value == type(int16).min ? type(int16).max : -value));
            (down[1 + 2 * k], down[2 + 2 * k]) = (mirrored[0], mirrored[1]);
        }
        upSum = int128(Blocks.partialSum(up, direction));
        downSum = int128(Blocks.partialSum(down, direction));
        (upPath, upTop[1], upTop[MANY]) = _equal(Blocks.leaf(up));
        (downPath, downTop[1], downTop[MANY]) = _equal(Blocks.leaf(down));
        (directionPath, directionTop[1], directionTop[MANY]) = _equal(Blocks.leaf(direction));
        vm.warp(clock);
    }

    /* PARTIES */

    function _keys(uint256 first, uint256 count) internal pure returns (uint256[] memory keys) {
        keys = new uint256[](count);
        for (uint256 i; i < count; i++) {
            uint256 place = i;
            for (; place > 0 && vm.addr(keys[place - 1]) > vm.addr(first + i); place--) {
                keys[place] = keys[place - 1];
            }
            keys[place] = first + i;
        }
    }

    /// @dev Stands right behind the client in a sorted tree, and never joined.
    function _impostor(address client) internal pure returns (address) {
        return address(uint160(client) + 1);
    }

    function _fund(address account, uint256 amount) internal {
        put[account] += amount;
        token.mint(account, amount);
        vm.prank(account);
        token.approve(address(fairshare), type(uint256).max);
    }

    function _typed(bytes32 structHash) internal view returns (bytes32) {
        return keccak256(bytes.concat(hex"1901", domain, structHash));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (ITask.Signature memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return ITask.Signature(r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    function _long(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return bytes.concat(r, s, bytes1(v));
    }

    function _wait(uint256 time) internal {
        clock += time;
        vm.warp(clock);
    }

    /* ROUNDS */

    function _pick(uint256 which) internal view returns (bytes32 id, bool ok) {
        if (taskIds.length == 0) return (0, false);
        return (taskIds[which % taskIds.length], true);
    }

    function _pickRound(uint256 which, uint256 whichRound) internal view returns (bytes32 id, uint32 round, bool ok) {
        (id, ok) = _pick(which);
        if (!ok || posted[id].length == 0) return (id, 0, false);
        round = uint32(whichRound % posted[id].length + 1);
    }

    function _header(bytes32 id, uint256 round) internal view returns (ITask.Header memory) {
        return posted[id][round - 1].header;
    }

    /// @dev All levels of a round's tree, with what is said of the first leaf or of the first node.
    function _levels(ITask.Leaf[] memory leaves, Lie lie) internal pure returns (Tree.Node[][] memory all) {
        all = Tree.levels(leaves);
        if (lie != Lie.BadLeaf && lie != Lie.BadNode) return all;
        uint256 bent = lie == Lie.BadLeaf ? 0 : 1;
        all[bent][0].cumulative += 1;
        all[bent][1].cumulative -= 1;
        for (uint256 depth = bent; all[depth].length > 1; depth++) {
            for (uint256 i; i < all[depth + 1].length; i++) {
                Tree.Node memory left = all[depth][2 * i];
                all[depth + 1][i] = 2 * i + 1 < all[depth].length ? Tree.join(left, all[depth][2 * i + 1]) : left;
            }
        }
    }

    function _proof(bytes32 id, uint256 round, uint256 index) internal view returns (ITask.Proof memory) {
        return Tree.proveIn(_levels(leavesOf[id][round], posted[id][round - 1].lie), index);
    }

    /* BLOCKS */

    /// @dev The siblings of any of many equal leaves, and the tops of a tree of one and of all of them.
    function _equal(bytes32 leaf) private pure returns (bytes32[] memory path, bytes32 one, bytes32 top) {
        path = new bytes32[](LEVELS);
        (one, top) = (leaf, leaf);
        for (uint256 i; i < LEVELS; i++) {
            path[i] = top;
            top = sha256(bytes.concat(hex"01", top, top));
        }
    }

    /// @dev The root of an update of equal blocks.
    function _updateRoot(bool positive, uint64 blocks) internal view returns (bytes32) {
        return Blocks.root(blocks, positive ? upTop[blocks] : downTop[blocks]);
    }

    /// @dev A block of such an update, or of the direction, and its siblings.
    function _opening(bytes memory data, bytes32[] memory path, uint64 blocks)
        internal
        pure
        returns (bytes memory)
    {
        return blocks == 1 ? data : bytes.concat(data, abi.encodePacked(path));
    }
}
