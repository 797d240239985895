// SPDX-License-Identifier: Apache-2.0
//
// A replica promoted by hand, in the order in which a failover must do it: the old master takes no more writes (it is dead, or it
// noticed that no replica follows) before the new one takes any.
#include "field.hpp"

#include "clock.hpp"
#include "evidence.hpp"

namespace tiercache::chaos {
namespace {

using testing::LinkFault;
using testing::RedisServer;
using testing::TcpProxy;

enum Phase : unsigned { follows, isolated, split };

}  // namespace

void Field::follow_master() {
  replication_->retarget(master().port());
  spare().command({"REPLICAOF", "127.0.0.1", std::to_string(replication_->port())});
}

bool Field::replica_is_level() const {
  const std::string text = spare().command({"INFO", "replication"});
  return text.find("master_link_status:up") != std::string::npos && text.find("master_sync_in_progress:0") != std::string::npos;
}

void Field::promote_spare() {
  spare().command({"REPLICAOF", "NO", "ONE"});
  master_ = 1 - master_;
}

void Field::move_instances(unsigned from, unsigned step) {
  for (std::size_t i = from; i < proxies_.size(); i += step) {
    proxies_[i]->retarget(master().port());
    proxies_[i]->cut();
  }
}

void Field::give_up_replica(Fault& fault) {
  fault.void_ = true;
  replication_->restore();
  if (fault.phase == isolated) master().command({"CONFIG", "SET", "min-replicas-to-write", "0"});
  spare().restart(RedisServer::Data::empty);
}

bool Field::turn_promotion(Fault& fault, std::int64_t now) {
  switch (fault.phase) {
    case follows:
      if (now >= fault.ends) return give_up_replica(fault), true;
      if (!replica_is_level()) return false;
      lose();
      if (fault.kind == FaultKind::replica_promoted) {
        // What it had answered and not yet sent to the replica is lost with it.
        master().kill9();
        promote_spare();
        move_instances(0, 1);
        spare().restart(RedisServer::Data::empty);
        return true;
      }
      master().command({"CONFIG", "SET", "min-replicas-max-lag", "1"});
      master().command({"CONFIG", "SET", "min-replicas-to-write", "1"});
      replication_->set(TcpProxy::to_client, LinkFault::blackhole());
      replication_->set(TcpProxy::to_server, LinkFault::blackhole());
      fault.phase = isolated;
      return false;
    case isolated:
      if (now >= fault.ends) return give_up_replica(fault), true;
      if (master().command({"SET", "chaos:isolated", "1"}).find("NOREPLICAS") == std::string::npos) return false;
      promote_spare();
      move_instances(0, 2);
      fault.phase = split;
      fault.ends = now + some(0.5, 3);
      return false;
    default:
      if (now < fault.ends) return false;
      // Beside this connection the other half of the instances is to be seen there.
      fault.verified = info_number(spare().command({"INFO", "clients"}), "connected_clients") > 1;
      spare().kill9();
      move_instances(1, 2);
      replication_->restore();
      spare().restart(RedisServer::Data::empty);
      return true;
  }
}

}  // namespace tiercache::chaos
