// SPDX-License-Identifier: MIT
pragma solidity ^0.8.30;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ITask} from "../../src/interfaces/ITask.sol";
import {Tree} from "../world/Tree.sol";
import {vm} from "../world/Vm.sol";
import {Stage} from "./Stage.sol";

/// @notice Proofs of what is wrong, and attempts at proofs of what is not.
abstract contract Proofs is Stage {
    /// @dev The watcher proves a round's lie; in an honest round the liar tries its luck. Every other call is for the first
    /// lie that can still be proven, if there is one.
    function prove(uint256 which, uint256 whichRound, uint256 how) external {
        (bytes32 id, uint32 round, bool ok) = _pickRound(which, whichRound);
        if (!ok) return;
        (, ITask.State memory state) = fairshare.task(id);
        for (uint32 i = 1; how % 2 == 0 && i <= state.posted; i++) {
            if (posted[id][i - 1].lie <= Lie.Score || fairshare.isFinal(id, i)) continue;
            round = i;
            break;
        }
        Lie lie = posted[id][round - 1].lie;
        bool known = lie > Lie.Score;
        bool final_ = fairshare.isFinal(id, round);
        Lie tried = known ? lie : Lie((how >> 1) % 7 + 2);
        if (!_prove(id, round, tried)) {
            bool alone = true; // a lie before it may have left nothing that opens to hold it against
            for (uint256 i; i + 1 < round; i++) {
                alone = alone && posted[id][i].lie == Lie.None;
            }
            if (known && alone && !final_ && state.status == ITask.Status.Started) broken = "a lie could not be proven";
            return;
        }
        if (final_) broken = "a final round was convicted";
        if (!lied[id]) broken = "an honest task was convicted";
        else if (lie == Lie.None) broken = "an honest round was convicted";
        done[this.prove.selector]++;
        if (known) done[bytes4(uint32(lie))]++;
    }

    function _prove(bytes32 id, uint32 round, Lie lie) internal returns (bool) {
        ITask.Header memory header = _header(id, round);
        ITask.Leaf[] memory leaves = leavesOf[id][round];
        ITask.Proof memory proof = _proof(id, round, 0);
        if (lie == Lie.BadNode) return _proveBadNode(id, round, header);
        vm.prank(_prover(id, round));
        if (lie == Lie.Theft) return _proveTheft(id, round, header, leaves[0], proof);
        if (lie == Lie.Chain) {
            try court.proveBrokenChain(_header(id, round > 1 ? round - 1 : 1), header) {
                return true;
            } catch {
                return false;
            }
        }
        if (lie == Lie.Omission) return _proveOmission(header, leaves[0], proof, posted[id][round - 1].lie == lie);
        if (lie == Lie.Disorder) {
            try court.proveDisorder(header, leaves[0], proof, leaves[leaves.length > 1 ? 1 : 0], _second(id, round)) {
                return true;
            } catch {
                return false;
            }
        }
        if (lie == Lie.Missing) return _proveMissing(header, leaves[0], proof);
        return _proveBadLeaf(id, round, header, leaves[0], proof);
    }

    function _prover(bytes32 id, uint32 round) internal view returns (address) {
        return posted[id][round - 1].lie == Lie.None ? LIAR : WATCHER;
    }

    function _second(bytes32 id, uint32 round) internal view returns (ITask.Proof memory) {
        return _proof(id, round, leavesOf[id][round].length > 1 ? 1 : 0);
    }

    function _proveTheft(
        bytes32 id,
        uint32 round,
        ITask.Header memory header,
        ITask.Leaf memory leaf,
        ITask.Proof memory proof
    ) internal returns (bool) {
        ITask.Header memory before = _header(id, round > 1 ? round - 1 : 1);
        (ITask.Leaf memory leafBefore, ITask.Proof memory proofBefore) = _before(id, round, leaf.account);
        try court.proveTransition(before, leafBefore, proofBefore, header, leaf, proof) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev By the receipt that a coordinator signed beside the leaf or, if it signed none, the one for the leaf.
    function _proveOmission(ITask.Header memory header, ITask.Leaf memory leaf, ITask.Proof memory proof, bool omitted)
        internal
        returns (bool)
    {
        bytes32 updateRoot = omitted ? keccak256("the update that was left out") : leaf.updateRoot;
        bytes32 typehash = keccak256("Receipt(bytes32 taskId,uint32 round,address client,bytes32 updateRoot)");
        bytes32 digest = _typed(keccak256(abi.encode(typehash, header.taskId, header.round, leaf.account, updateRoot)));
        ITask.Signature memory receipt = _sign(COORDINATOR_KEY, digest);
        try court.proveOmission(header, leaf, proof, updateRoot, receipt) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev That the client in front of the first leaf has none: right if that leaf is an impostor's.
    function _proveMissing(ITask.Header memory header, ITask.Leaf memory leaf, ITask.Proof memory proof)
        internal
        returns (bool)
    {
        address account = leaf.account;
        for (uint256 i; i < clients.length; i++) {
            if (_impostor(clients[i]) == account) account = clients[i];
        }
        ITask.Leaf[] memory neighbours = new ITask.Leaf[](1);
        ITask.Proof[] memory proofs = new ITask.Proof[](1);
        (neighbours[0], proofs[0]) = (leaf, proof);
        try court.proveMissing(header, account, neighbours, proofs) {
            return true;
        } catch {
            return false;
        }
    }

    function _proveBadLeaf(
        bytes32 id,
        uint32 round,
        ITask.Header memory header,
        ITask.Leaf memory leaf,
        ITask.Proof memory proof
    ) internal returns (bool) {
        Tree.Node memory node = _levels(leavesOf[id][round], posted[id][round - 1].lie)[0][0];
        try court.proveBadLeaf(header, leaf, _said(node), proof) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev In an honest round the liar shows the node as it is, with another child, or with another sum said of it.
    function _proveBadNode(bytes32 id, uint32 round, ITask.Header memory header) internal returns (bool) {
        Lie lie = posted[id][round - 1].lie;
        Tree.Node[][] memory levels = _levels(leavesOf[id][round], lie);
        if (levels[0].length < 2) return false;
        Tree.Node[][] memory above = new Tree.Node[][](32);
        for (uint256 i; i < 32; i++) {
            above[i] = levels[i + 1];
        }
        ITask.Sibling memory left = _said(levels[0][0]);
        ITask.Sibling memory said = _said(above[0][0]);
        if (lie == Lie.None && uint256(header.treeRoot) % 3 == 1) left.cumulative += 1;
        if (lie == Lie.None && uint256(header.treeRoot) % 3 == 2) said.cumulative += 1;
        ITask.Proof memory proof = Tree.proveIn(above, 0);
        vm.prank(_prover(id, round));
        try court.proveBadNode(header, 1, left, _said(levels[0][1]), said, proof) {
            return true;
        } catch {
            return false;
        }
    }

    function _said(Tree.Node memory node) internal pure returns (ITask.Sibling memory) {
        return ITask.Sibling(node.node, node.cumulative);
    }

    /// @dev An account's leaf of the round before, if it has one.
    function _before(bytes32 id, uint32 round, address account)
        internal
        view
        returns (ITask.Leaf memory leaf, ITask.Proof memory proof)
    {
        ITask.Leaf[] memory earlier = leavesOf[id][round - 1];
        for (uint256 i; i < earlier.length; i++) {
            if (earlier[i].account == account) (leaf, proof) = (earlier[i], _proof(id, round - 1, i));
        }
    }

    /* CLIENTS WHO SIGN TWICE */

    /// @dev Somebody shows two signed updates of a client. A hostile client signed both; of the others there is one, and
    /// the second is the same again, the liar's own work, or what the client signed for another round.
    function equivocate(uint256 which, uint256 who, uint256 whichRound, uint256 how) external {
        (bytes32 id, bool ok) = _pick(which);
        if (!ok) return;
        address client = clients[who % clients.length];
        bool hostile = who % clients.length >= HONEST_CLIENTS;
        uint32 round = uint32(whichRound % 6 + 1);
        IDisputes.SignedUpdate memory first = _signedUpdate(id, round, client, keyOf[client], "first");
        IDisputes.SignedUpdate memory second = hostile
            ? _signedUpdate(id, round, client, keyOf[client], "second")
            : how % 3 == 0 ? first : how % 3 == 1
            ? _signedUpdate(id, round, client, COORDINATOR_KEY, "second")
            : _signedUpdate(id, round + 1, client, keyOf[client], "next");
        vm.prank(WATCHER);
        try court.proveEquivocation(id, round, client, first, second) {
            if (!hostile) broken = "a client that signed once was slashed";
            staked[id][client] = 0;
            done[this.equivocate.selector]++;
        } catch {}
    }

    function _signedUpdate(bytes32 id, uint32 round, address client, uint256 key, string memory update)
        internal
        view
        returns (IDisputes.SignedUpdate memory)
    {
        bytes32 root = keccak256(bytes(update));
        bytes32 typehash =
            keccak256("Update(bytes32 taskId,uint32 round,address client,bytes32 baseModel,bytes32 updateRoot)");
        bytes32 digest = _typed(keccak256(abi.encode(typehash, id, round, client, bytes32(0), root)));
        return IDisputes.SignedUpdate(0, root, _sign(key, digest));
    }
}
