from brevitas_defakeq.cli import main

main()
