// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tiercache::demo {

/// One instance of the service: the whole life of a child process. `fd` is the shared block's. -> exit code.
int run_instance(int fd, unsigned index);

}  // namespace tiercache::demo
