# The C library musl on a glibc system: the compiler of musl-tools, and what tests/support/musl.sh has made.
get_filename_component(system ../build/musl-system ABSOLUTE BASE_DIR ${CMAKE_CURRENT_LIST_DIR})
set(CMAKE_C_COMPILER musl-gcc)
set(CMAKE_C_FLAGS_INIT "-idirafter ${system}/include")
set(CMAKE_FIND_ROOT_PATH ${system})
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${system}/lib/pkgconfig)
