// SPDX-License-Identifier: Apache-2.0
#include "check.hpp"

#include "client.hpp"
#include "record.hpp"

#include <string_view>
#include <vector>

namespace tiercache::demo {

CheckResult check_written(const SharedBlock& shared, Cache<Row> rows) {
  CheckResult result;
  Result<Record> record = Record::open(shared.settings().database);
  if (!record) {
    fail_run(shared, record.error().message);
    return result;
  }
  constexpr std::size_t batch_max = 64;
  std::vector<std::uint32_t> batch;
  const auto check_batch = [&] {
    std::vector<KeyText> texts;
    texts.reserve(batch.size());
    for (const std::uint32_t key : batch) texts.emplace_back(key, shared.settings().keys);
    std::vector<std::string_view> names;
    names.reserve(batch.size());
    for (const KeyText& text : texts) names.push_back(text.view());
    const std::vector<Handle<Row>> handles = rows.get_many(names);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const Result<Record::Fields> row = record->find(batch[i]);
      ++result.keys;
      if (!row || (!handles[i] && handles[i].error() != nullptr)) {
        ++result.errors;
        continue;
      }
      const Record::Fields& fields = row.value();
      if (fields.version < shared.keys()[batch[i]].acked.load(std::memory_order_acquire)) ++result.lost;
      if (handles[i] && handles[i]->text != make_text({batch[i], fields.version}, fields.size)) ++result.wrong;
    }
    batch.clear();
  };
  const std::span<const KeyState> keys = shared.keys();
  for (std::uint32_t key = 0; key < keys.size(); ++key) {
    if (keys[key].started.load(std::memory_order_relaxed) == 0) continue;
    batch.push_back(key);
    if (batch.size() == batch_max) check_batch();
  }
  if (!batch.empty()) check_batch();
  return result;
}

void check_copies(const SharedBlock& shared, const Cache<Row>& rows, unsigned instance) {
  const CheckResult result = check_written(shared, rows);
  InstanceBlock& block = shared.instances()[instance];
  block.wrong_copies.store(result.wrong, std::memory_order_relaxed);
  block.check_errors.store(result.errors, std::memory_order_relaxed);
}

}  // namespace tiercache::demo
