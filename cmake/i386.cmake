# 32 bits on a 64-bit Debian: compiler and C library of gcc-multilib, and what tests/support/i386.sh has fetched.
get_filename_component(system ../build/i386-system ABSOLUTE BASE_DIR ${CMAKE_CURRENT_LIST_DIR})
set(ENV{PKG_CONFIG_LIBDIR} ${system}/usr/lib/i386-linux-gnu/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${system})
set(CMAKE_FIND_ROOT_PATH ${system})
set(CMAKE_LIBRARY_ARCHITECTURE i386-linux-gnu)
set(CMAKE_C_FLAGS_INIT "-m32 -isystem ${system}/usr/include/i386-linux-gnu")
# A library finds those that it needs itself in the folder, too, which the newer kind of path does not allow.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,--disable-new-dtags -Wl,-rpath-link,${system}/lib/i386-linux-gnu")
